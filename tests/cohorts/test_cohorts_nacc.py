"""What is special about NACC's tables: releases, codes, labels, visits by date."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from vendor_fixtures.nacc import make_nacc
from vendor_fixtures.nacc_rows import MRI, UDS, mri, nacc_id, small_download, visit
from vendor_fixtures.small_files import csv_file

from medblip.cohorts.collecting import Collector
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.nacc import NaccOptions, read_nacc
from medblip.cohorts.nacc_tables import read_tables
from medblip.errors import InputError, UsageError
from medblip.volumes.orientation import to_ras
from medblip.volumes.reading import read_volume


def only(found: DataSet) -> dict[str, str]:
    (row,) = found.sessions
    return row


def codes(found: DataSet) -> Counter[str]:
    return Counter(f.code for f in found.findings if f.code != "extra-column")


def test_every_scan_of_the_download_opens_the_right_way_round(tmp_path: Path) -> None:
    make_nacc(tmp_path)
    scans = read_nacc(tmp_path).scans
    assert len(scans) == 12
    for scan in scans:
        volume = to_ras(read_volume(tmp_path / scan.path, root=tmp_path))
        left, right = volume.array[:12].mean(), volume.array[12:].mean()
        assert 0 < left < right  # the invented head grows brighter to the right


# ---------------------------------------------------------------- labels and codes


@pytest.mark.parametrize(
    ("changes", "diagnosis", "detail"),
    [
        ({"NACCUDSD": "1"}, "NC", ""),
        ({"NACCUDSD": "2"}, "OTHER", "IMCI"),
        ({"NACCUDSD": "3", "NACCETPR": "1"}, "MCI", "NACCETPR=1"),
        ({"NACCUDSD": "4", "NACCETPR": "1"}, "AD", "NACCETPR=1"),
        ({"NACCUDSD": "4", "NACCETPR": "8"}, "OTHER", "NACCETPR=8"),
        ({"NACCUDSD": "4", "NACCETPR": "99", "NACCALZD": "1"}, "OTHER", ""),
        ({"NACCUDSD": "8"}, "", ""),
        ({"NACCUDSD": "-4"}, "", ""),
        ({"NACCUDSD": ""}, "", ""),
    ],
)
def test_ad_only_asks_for_alzheimers_as_the_primary_cause(
    tmp_path: Path, changes: dict[str, str], diagnosis: str, detail: str
) -> None:
    root = small_download(
        tmp_path, [visit(1, "2010-01-01", **changes)], [mri(1, "2010-01-01", "mri1")]
    )
    row = only(read_nacc(root, options=NaccOptions(ad_only=True)))
    assert (row["diagnosis"], row["diagnosis_detail"]) == (diagnosis, detail)
    assert row["diagnosis_source"] == (f"NACCUDSD={changes['NACCUDSD']}" if diagnosis else "")


def test_ad_only_falls_back_to_naccalzd_where_there_is_no_primary_cause(tmp_path: Path) -> None:
    demented = {"NACCUDSD": "4"}
    visits = [
        visit(1, "2010-01-01", NACCALZD="1", **demented),
        visit(2, "2010-01-01", NACCALZD="0", **demented),
    ]
    for row in visits:
        del row["NACCETPR"]
    root = small_download(tmp_path, visits, [mri(n, "2010-01-01", f"mri{n}.zip") for n in (1, 2)])
    strict = read_nacc(root, options=NaccOptions(ad_only=True))
    loose = read_nacc(root)
    assert [row["diagnosis"] for row in strict.sessions] == ["AD", "OTHER"]
    assert [row["diagnosis"] for row in loose.sessions] == ["AD", "AD"]
    assert strict.records_sha256 != loose.records_sha256


def test_craft_story_scores_never_become_logical_memory(tmp_path: Path) -> None:
    uds3 = {"FORMVER": "3", "LOGIMEM": "-4", "MEMUNITS": "-4", "NACCMMSE": "-4"}
    craft = {"CRAFTVRS": "19", "CRAFTURS": "17", "NACCMOCA": "27"}
    root = small_download(
        tmp_path, [visit(1, "2016-01-01", **uds3, **craft)], [mri(1, "2016-01-01", "mri1.zip")]
    )
    found = read_nacc(root)
    row = only(found)
    assert (row["lm_immediate"], row["lm_delayed"], row["mmse"]) == ("", "", "")
    assert row["missing_codes"] == "mmse=-4,lm_immediate=-4,lm_delayed=-4"
    assert codes(found)["craft-not-logical-memory"] == 1


@pytest.mark.parametrize(
    ("column", "field", "code"),
    [
        *(("NACCMMSE", "mmse", c) for c in ("88", "95", "96", "97", "98", "-4")),
        *(("LOGIMEM", "lm_immediate", c) for c in ("95", "98", "-4")),
        *(("MEMUNITS", "lm_delayed", c) for c in ("96", "97", "-4")),
        ("EDUC", "education_years", "99"),
        ("SEX", "sex", "9"),
        ("SEX", "sex", "8"),
    ],
)
def test_codes_are_kept_and_never_numbers(
    tmp_path: Path, column: str, field: str, code: str
) -> None:
    root = small_download(
        tmp_path, [visit(1, "2010-01-01", **{column: code})], [mri(1, "2010-01-01", "mri1.zip")]
    )
    found = read_nacc(root)
    assert only(found)[field] == ""
    assert only(found)["missing_codes"] == f"{field}={code}"
    assert "out-of-range" not in codes(found)


def test_age_of_the_scan_from_the_mri_table_or_the_birth_month(tmp_path: Path) -> None:
    visits = [visit(n, "2010-01-01", BIRTHMO="1", BIRTHYR="1940") for n in (1, 2)]
    visits.append(visit(3, "2010-01-01", BIRTHMO="99", BIRTHYR="9999"))
    scans = [
        mri(1, "2010-03-01", "mri1.zip", NACCMRIA="70"),
        mri(2, "2010-07-01", "mri2.zip", NACCMRIA="888"),
        mri(3, "2010-07-01", "mri3.zip", NACCMRIA="888"),
    ]
    rows = read_nacc(small_download(tmp_path, visits, scans)).sessions
    assert [row["age"] for row in rows] == ["70", "70.5", ""]
    assert [row["missing_codes"] for row in rows] == ["", "", "age=888"]


# ---------------------------------------------------------------- visits


def test_a_narrower_window_takes_the_label_away_and_keeps_the_person(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-02-01", "mri1.zip")])
    assert only(read_nacc(root))["match_days"] == "31"
    found = read_nacc(root, options=NaccOptions(window_days=30))
    row = only(found)
    assert (row["diagnosis"], row["mmse"], row["clinical_date"]) == ("", "", "")
    assert (row["sex"], row["education_years"]) == ("F", "16")
    assert codes(found)["no-visit-in-window"] == 1


@pytest.mark.parametrize(("days", "labelled"), [(182, True), (183, False)])
def test_the_window_is_half_a_year(tmp_path: Path, days: int, labelled: bool) -> None:
    date = {182: "2010-07-02", 183: "2010-07-03"}[days]
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, date, "mri1.zip")])
    assert bool(only(read_nacc(root))["diagnosis"]) == labelled


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="expected 0 to 182"):
        NaccOptions(window_days=183)


def test_days_of_the_mri_table_are_compared_with_the_dates(tmp_path: Path) -> None:
    scans = [
        mri(1, "2010-02-01", "mri1.zip", NACCMRDY="-31"),
        mri(2, "2010-02-01", "mri2.zip", NACCMRDY="8888"),
    ]
    found = read_nacc(small_download(tmp_path, [visit(n, "2010-01-01") for n in (1, 2)], scans))
    (warning,) = (f for f in found.findings if f.code == "visit-days-differ")
    assert warning.level == "warning"
    assert warning.where == f"NACC/{MRI} line 2, field NACCMRDY"
    assert "-31" in warning.problem
    assert "31" in warning.problem


def test_two_scans_of_a_subject_count_days_from_the_first(tmp_path: Path) -> None:
    scans = [mri(1, "2012-01-01", "mri2.zip"), mri(1, "2010-01-01", "mri1.zip")]
    found = read_nacc(small_download(tmp_path, [visit(1, "2010-01-01")], scans))
    days = {row["session_id"]: row["days_from_baseline"] for row in found.sessions}
    assert days == {"mri1": "0", "mri2": "730"}


def test_a_scan_without_a_day_matches_no_visit(tmp_path: Path) -> None:
    row = {**mri(1, "2010-01-01", "mri1.zip"), "MRIYR": "8888"}
    found = read_nacc(small_download(tmp_path, [visit(1, "2010-01-01")], [row]))
    assert (only(found)["scan_date"], only(found)["diagnosis"]) == ("", "")
    assert codes(found)["bad-date"] == 1


# ---------------------------------------------------------------- tables


def test_the_newest_release_with_most_rows_is_read(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    newest = [visit(1, "2010-01-01", NACCUDSD="3")]
    csv_file(root / "sub" / "investigator_ftldlbd_nacc72.csv", newest)
    csv_file(root / "commercial_nacc72.csv", [visit(1, "2010-01-01", NACCUDSD="4")])
    csv_file(root / "investigator_fcsf_nacc72.csv", [{"NACCID": nacc_id(1), "CSFABETA": "1"}])
    found = read_nacc(root)
    assert only(found)["diagnosis"] == "MCI"
    notes = {f.where: f.code for f in found.findings if f.code in ("other-release", "unread-table")}
    assert notes == {
        f"NACC/{UDS}": "other-release",
        "NACC/commercial_nacc72.csv": "other-release",
        "NACC/investigator_fcsf_nacc72.csv": "unread-table",
    }
    assert set(found.tables) == {"sub/investigator_ftldlbd_nacc72.csv", MRI}


def test_two_different_tables_of_one_release_are_an_error(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    csv_file(root / "sub" / UDS, [visit(1, "2010-01-01", NACCUDSD="3")])
    with pytest.raises(InputError) as caught:
        read_nacc(root)
    assert caught.value.code == "two-tables"


def test_tables_of_an_older_request_go_by_their_day(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    (root / UDS).rename(root / "smith12012018.csv")
    (root / MRI).rename(root / "smith12012018mri.csv")
    csv_file(root / "smith11302018.csv", [visit(1, "2010-01-01", NACCUDSD="4")])
    assert only(read_nacc(root))["diagnosis"] == "NC"


def test_names_of_columns_in_lower_case(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    before = read_nacc(root)
    for name in (UDS, MRI):
        header, _, body = (root / name).read_text().partition("\n")
        (root / name).write_text(f"{header.lower()}\n{body}")
    assert read_nacc(root).sessions == before.sessions


def test_only_needed_columns_of_people_with_a_scan_are_kept(tmp_path: Path) -> None:
    wide = [
        {**visit(n, "2010-01-01"), **{f"EXTRA{c}": str(c) for c in range(300)}} for n in range(1, 9)
    ]
    root = small_download(tmp_path, wide, [mri(3, "2010-01-01", "mri3.zip")])
    collector = Collector(root, "NACC")
    uds, _ = read_tables([root / UDS, root / MRI], "utf-8-sig", collector)
    assert set(uds.frame["NACCID"]) == {nacc_id(3)}
    assert len(uds.frame.columns) < 30
    (note,) = (f for f in collector.findings if f.where == UDS)
    assert note.code == "extra-column"
    assert note.problem.endswith("...")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"NACCID": "90001"}, "bad-id"),
        ({"NACCMRFI": "NACC900002_x.zip"}, "id-mismatch"),
        ({"NACCMRFI": "mri 1.zip"}, "bad-form"),
    ],
)
def test_a_row_of_nobody_leaves_its_scan_out(
    tmp_path: Path, changes: dict[str, str], code: str
) -> None:
    row = {**mri(1, "2010-01-01", "mri1.zip"), **changes}
    found = read_nacc(small_download(tmp_path, [visit(1, "2010-01-01")], [row]))
    assert found.sessions == []
    assert [f.code for f in found.refused] == [code]
    assert f"{MRI} line 2" in found.refused[0].problem


def test_two_rows_that_name_one_zip_leave_it_out(tmp_path: Path) -> None:
    scans = [mri(1, "2010-01-01", "mri1.zip"), mri(2, "2010-01-01", "mri1.zip")]
    found = read_nacc(small_download(tmp_path, [visit(1, "2010-01-01")], scans))
    assert [f.code for f in found.refused] == ["scan-without-row"]
    assert codes(found)["duplicate-row"] == 1
