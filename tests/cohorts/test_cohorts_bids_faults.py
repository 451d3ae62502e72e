"""Faults of BIDS folders: each scan left out has its finding, and the others go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bids import (
    SESSION_HEADER,
    clinica,
    codes,
    data_set,
    only,
    row,
    scan,
    session_cells,
    touch,
    write_tsv,
)

from medblip.cohorts.bids import read_bids
from medblip.errors import InputError


def test_scan_without_row_and_row_without_scan_are_listed(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    scan(root, "sub-SIMA0001", "ses-09")
    scan(root, "sub-UNKNOWN")
    (root / "sub-SIMA0002/ses-01/anat/sub-SIMA0002_ses-01_T1w.nii.gz").unlink()
    with (root / "participants.tsv").open("a") as handle:
        handle.write("sub-SIMA0099\tF\t12\tA1\n")
    found = read_bids(root)
    assert codes(found.refused) == {"scan-without-row": 2}
    assert {f.where for f in found.refused} == {
        "SIM-A/sub-SIMA0001/ses-09/anat/sub-SIMA0001_ses-09_T1w.nii.gz",
        "SIM-A/sub-UNKNOWN/ses-01/anat/sub-UNKNOWN_ses-01_T1w.nii.gz",
    }
    assert codes(found.findings) == {"row-without-scan": 2, "no-participant-row": 1}
    where = {f.where for f in found.findings if f.code == "row-without-scan"}
    assert where == {
        "SIM-A/sub-SIMA0002/sub-SIMA0002_sessions.tsv line 2",
        "SIM-A/participants.tsv line 5",
    }
    assert found.scans_found == 4


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"mmse": "45"}, "out-of-range", "field mmse: mmse is '45'"),
        ({"mmse": "27,5"}, "not-a-number", "decimal point"),
        ({"diagnosis": "EMCI"}, "unknown-diagnosis", "CN, NC, MCI, AD, Dementia"),
        ({"acq_time": "03/04/2015"}, "date-format", "YYYY-MM-DD"),
        ({"session_id": "01"}, "bad-id", "ses-<letters and digits>"),
    ],
)
def test_one_bad_row_leaves_out_its_scan_only(
    tmp_path: Path, changes: dict[str, str], code: str, says: str
) -> None:
    root = data_set(tmp_path)
    table = root / "sub-SIMA0002/sub-SIMA0002_sessions.tsv"
    write_tsv(table, SESSION_HEADER, [session_cells(1, **changes)])
    found = read_bids(root)
    assert (len(found.scans), len(found.sessions)) == (2, 2)
    refused = only(found.refused)
    assert (refused.code, refused.level) == (code, "error")
    assert refused.where == "SIM-A/sub-SIMA0002/ses-01/anat/sub-SIMA0002_ses-01_T1w.nii.gz"
    assert "sub-SIMA0002_sessions.tsv line 2" in refused.problem
    assert says in f"{refused.problem} {refused.fix}"


ROW = "\t".join(session_cells(1))
HEADER = "\t".join(SESSION_HEADER)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (f"{HEADER}\n{ROW}\n{ROW}\n".encode(), "duplicate-row"),
        (f"{HEADER}\n{ROW}\textra\n".encode(), "ragged-row"),
        (f"{HEADER}\n".encode(), "header-only"),
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), "wrong-encoding"),
        (f"{HEADER}\n{ROW}é\n".encode("latin-1"), "wrong-encoding"),
        (f"{HEADER}\n{ROW}\x00\n".encode(), "nul-byte"),
        (f"{HEADER}\tMMS\n{ROW}\t27\n".encode(), "twin-column"),
        (f"{HEADER.replace('session_id', 'session')}\n{ROW}\n".encode(), "missing-column"),
        (b"", "empty-table"),
    ],
)
def test_broken_sessions_table_leaves_out_its_subject_only(
    tmp_path: Path, data: bytes, code: str
) -> None:
    root = data_set(tmp_path)
    (root / "sub-SIMA0002/sub-SIMA0002_sessions.tsv").write_bytes(data)
    found = read_bids(root)
    assert len(found.scans) == 2
    assert only(found.refused).code == code
    assert "sub-SIMA0002_sessions.tsv" in only(found.refused).problem


def test_both_date_orders_in_one_table_are_named(tmp_path: Path) -> None:
    root = data_set(tmp_path, 1)
    rows = [
        session_cells(0, f"ses-{n}", acq_time=date)
        for n, date in enumerate(["13/02/2015", "02/13/2015"])
    ]
    write_tsv(root / "sub-SIMA0001/sub-SIMA0001_sessions.tsv", SESSION_HEADER, rows)
    assert only(read_bids(root).refused).code == "mixed-dates"


def test_latin_1_tables_are_read_when_named(tmp_path: Path) -> None:
    root = data_set(tmp_path, 1)
    text = (root / "participants.tsv").read_text().replace("\tA0", "\tKöln")
    (root / "participants.tsv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_bids(root)
    assert caught.value.code == "wrong-encoding"
    assert f"{root.name}/participants.tsv line 2" in str(caught.value)
    assert read_bids(root, encoding="latin-1").sessions[0]["site"] == "Köln"


def test_participant_twice_or_without_prefix(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    text = (root / "participants.tsv").read_text()
    (root / "participants.tsv").write_text(text.replace("sub-SIMA0002", "2"))
    found = read_bids(root)
    assert codes(found.findings) == {"bad-id": 1, "no-participant-row": 1}
    (root / "participants.tsv").write_text(text.replace("sub-SIMA0002", "sub-SIMA0001"))
    with pytest.raises(InputError) as caught:
        read_bids(root)
    assert caught.value.code == "duplicate-row"


def test_nothing_outside_the_data_set_is_followed(tmp_path: Path) -> None:
    root = data_set(tmp_path / "a")
    secret = data_set(tmp_path / "b", 1, "SIM-B")
    image = root / "sub-SIMA0001/ses-01/anat/sub-SIMA0001_ses-01_T1w.nii.gz"
    image.unlink()
    image.symlink_to(secret / "sub-SIMB0001/ses-01/anat/sub-SIMB0001_ses-01_T1w.nii.gz")
    (root / "sub-SIMB0001").symlink_to(secret / "sub-SIMB0001")
    table = root / "sub-SIMA0002/sub-SIMA0002_sessions.tsv"
    table.unlink()
    table.symlink_to(secret / "sub-SIMB0001/sub-SIMB0001_sessions.tsv")
    found = read_bids(root)
    assert codes(found.refused) == {"outside-root": 2}
    assert [(f.code, f.where) for f in found.findings] == [("outside-root", "SIM-A/sub-SIMB0001")]
    assert [s.participant_id for s in found.scans] == ["SIM-A-SIMA0003"]


def test_links_within_the_data_set_are_fine(tmp_path: Path) -> None:
    root = data_set(tmp_path, 1)
    image = root / "sub-SIMA0001/ses-01/anat/sub-SIMA0001_ses-01_T1w.nii.gz"
    stored = root / ".git/annex/objects/x.nii.gz"
    stored.parent.mkdir(parents=True)
    image.rename(stored)
    image.symlink_to(stored)
    assert len(read_bids(root).scans) == 1


def test_scans_table_gives_dates_and_opens_nothing(tmp_path: Path) -> None:
    root = clinica(
        tmp_path / "c", "sub-X1", {"sex": "M"}, [{"session_id": "ses-M00", "diagnosis": "CN"}]
    )
    scan(root, "sub-X1", "ses-M00")
    rows = [
        ["anat / sub-X1_ses-M00_T1w.nii.gz", "2010-02-03T00:00:00"],
        ["../../../etc/passwd", "2010-02-04T00:00:00"],
    ]
    write_tsv(root / "sub-X1/ses-M00/sub-X1_ses-M00_scans.tsv", ["filename", "acq_time"], rows)
    found = read_bids(root)
    assert row(found, "My-clinic-2020-X1")["scan_date"] == "2010-02-03"
    assert len(found.scans) == 1


def test_misplaced_image_is_refused(tmp_path: Path) -> None:
    root = data_set(tmp_path, 2)
    touch(root / "sub-SIMA0001/ses-01/anat/sub-SIMA0002_ses-01_T1w.nii.gz")
    found = read_bids(root)
    assert only(found.refused).code == "misplaced-image"
    assert len(found.scans) == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"MagneticFieldStrength": NaN}', "bad-json"),
        ("{", "bad-json"),
        ("[1]", "bad-json"),
        ("[" * 5000, "bad-json"),
        (" " * (2 << 20), "file-too-large"),
    ],
)
def test_broken_sidecar_is_a_warning(tmp_path: Path, text: str, code: str) -> None:
    root = data_set(tmp_path, 1)
    (root / "sub-SIMA0001/ses-01/anat/sub-SIMA0001_ses-01_T1w.json").write_text(text)
    found = read_bids(root)
    assert len(found.scans) == 1
    assert (only(found.findings).code, only(found.findings).level) == (code, "warning")


def test_visit_far_from_the_scan_is_refused(tmp_path: Path) -> None:
    visit = {
        "session_id": "ses-1",
        "acq_time": "2010-01-01",
        "examination_date": "2009-01-01",
        "diagnosis": "CN",
    }
    root = clinica(tmp_path / "c", "sub-X1", {"sex": "M"}, [visit])
    scan(root, "sub-X1", "ses-1")
    refused = only(read_bids(root).refused)
    assert refused.code == "out-of-range"
    assert "match_days is '365'" in refused.problem


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    for make, code in (
        (lambda: tmp_path / "none", "no-data-set"),
        (lambda: tmp_path, "no-participants"),
    ):
        with pytest.raises(InputError) as caught:
            read_bids(make())
        assert caught.value.code == code


def test_nameless_data_set_takes_its_folders_name(tmp_path: Path) -> None:
    root = data_set(tmp_path / "my set", 1)
    (root / "dataset_description.json").unlink()
    found = read_bids(root)
    assert found.cohort == "my-set"
    assert codes(found.findings) == {"no-data-set-name": 1}
