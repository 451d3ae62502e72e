"""What is special about MIRIAD: everything is in names, visits hold runs, ages are the calendar."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from vendor_fixtures.miriad import CLINICAL, SCANS, SUBJECTS, label, make_miriad, stem
from vendor_fixtures.small_files import csv_file, nifti, write, zip_file

from medblip.cohorts.dataset import DataSet
from medblip.cohorts.miriad import MiriadOptions, read_miriad
from medblip.cohorts.miriad_names import label_key, named_image, visit_key
from medblip.cohorts.miriad_tables import ALIASES
from medblip.errors import InputError
from medblip.volumes.reading import read_volume


def codes(found: DataSet) -> Counter[str]:
    return Counter(f.code for f in found.findings)


def session(subject: int, visit: int, run: int, **columns: str) -> dict[str, str]:
    """A row of the table of MR sessions."""
    name = {"Label": label(subject, visit, run), "Subject": f"miriad_{subject}"}
    return {**name, "Age": "70.25", "Group": "AD", **columns}


def scan(root: Path, name: str) -> Path:
    return write(root / f"{name}.nii", b"")


def test_scans_open_loose_gzipped_and_inside_the_xnat_zip(tmp_path: Path) -> None:
    make_miriad(tmp_path)
    found = read_miriad(tmp_path)
    assert len(found.scans) == 6
    for one in found.scans:
        assert read_volume(tmp_path / one.path, root=tmp_path).array.shape == (24, 28, 20)


def test_back_to_back_scans_are_runs_of_one_session(tmp_path: Path) -> None:
    make_miriad(tmp_path)
    first = [s for s in read_miriad(tmp_path).scans if s.session_id == "miriad_901_01"]
    assert [(s.run, s.rank) for s in first] == [(1, 0), (2, 1)]


def test_visits_of_two_digits_come_after_those_of_one(tmp_path: Path) -> None:
    make_miriad(tmp_path)
    rows = [r for r in read_miriad(tmp_path).sessions if r["participant_id"].endswith("901")]
    assert [row["visit_code"] for row in rows] == ["01", "02", "10"]
    assert [row["days_from_baseline"] for row in rows] == ["0", "15", "734"]


# ---------------------------------------------------------------- the label


@pytest.mark.parametrize("subject", [188, 199, 233, 257])
def test_the_group_is_never_told_from_the_subjects_number(tmp_path: Path, subject: int) -> None:
    for group, diagnosis in (("AD", "AD"), ("HC", "NC")):
        root = tmp_path / group
        scan(root, stem(subject, group, "M", 1, 1))
        csv_file(root / SCANS, [session(subject, 1, 1, Group="")])
        (row,) = read_miriad(root).sessions
        assert (row["diagnosis"], row["diagnosis_source"]) == (diagnosis, f"Group={group}")


def test_a_low_mmse_changes_no_label(tmp_path: Path) -> None:
    scan(tmp_path, stem(199, "HC", "F", 1, 1))
    csv_file(tmp_path / SCANS, [session(199, 1, 1, Group="HC")])
    csv_file(tmp_path / CLINICAL, [{"Label": "miriad_199_1_MMSE", "MMSE": "3"}])
    (row,) = read_miriad(tmp_path).sessions
    assert (row["diagnosis"], row["mmse"]) == ("NC", "3")


def test_the_table_gives_the_group_where_names_are_xnats(tmp_path: Path) -> None:
    write(tmp_path / label(200, 1, 1) / "scans/scan.nii", b"")
    write(tmp_path / f"{label(201, 1, 1)}.nii", b"")
    csv_file(tmp_path / SCANS, [session(200, 1, 1), session(201, 1, 1, Group="")])
    found = read_miriad(tmp_path)
    assert [row["diagnosis"] for row in found.sessions] == ["AD", ""]
    assert codes(found)["no-diagnosis"] == 1


def test_an_unknown_group_is_an_error_and_can_be_named(tmp_path: Path) -> None:
    write(tmp_path / f"{label(200, 1, 1)}.nii", b"")
    csv_file(tmp_path / SCANS, [session(200, 1, 1, Group="Control")])
    (refused,) = read_miriad(tmp_path).refused
    assert refused.code == "unknown-code"
    assert "'Control', expected AD or HC" in refused.problem
    options = MiriadOptions(groups={"AD": "AD", "Control": "NC"})
    assert read_miriad(tmp_path, options=options).sessions[0]["diagnosis"] == "NC"


def test_names_and_table_may_not_say_different_groups(tmp_path: Path) -> None:
    for subject in (200, 201):
        scan(tmp_path, stem(subject, "HC", "F", 1, 1))
    csv_file(tmp_path / SCANS, [session(200, 1, 1), session(201, 1, 1, Group="HC")])
    found = read_miriad(tmp_path)
    assert [f.code for f in found.refused] == ["group-conflict"]
    assert [row["participant_id"] for row in found.sessions] == ["MIRIAD-miriad_201"]


# ---------------------------------------------------------------- tables of any export


def test_other_names_of_columns_can_be_given(tmp_path: Path) -> None:
    scan(tmp_path, stem(200, "AD", "F", 1, 1))
    row = {"Session Label": label(200, 1, 1), "Years": "66.5"}
    csv_file(tmp_path / SCANS, [row])
    with pytest.raises(InputError) as caught:
        read_miriad(tmp_path)
    assert caught.value.code == "absent-table"
    named = {**ALIASES, "label": ("Session Label",), "age": ("Years",)}
    found = read_miriad(tmp_path, options=MiriadOptions(aliases=named))
    assert found.sessions[0]["age"] == "66.5"
    (note,) = (f for f in found.findings if f.code == "unverified-columns")
    assert note.problem.endswith("read: Session Label, Years")


def test_tables_go_by_their_columns_not_by_their_names(tmp_path: Path) -> None:
    truth = make_miriad(tmp_path)
    for number, name in enumerate((SCANS, CLINICAL, SUBJECTS)):
        (tmp_path / name).rename(tmp_path / f"export_{number}.csv")
    rows = {
        (r["participant_id"], r["session_id"]): r["mmse"] for r in read_miriad(tmp_path).sessions
    }
    assert rows == {key: fields.get("mmse", "") for key, fields in truth.sessions.items()}


def test_two_exports_of_one_kind_are_one_only_if_equal(tmp_path: Path) -> None:
    scan(tmp_path, stem(200, "AD", "F", 1, 1))
    csv_file(tmp_path / "a.csv", [session(200, 1, 1)])
    csv_file(tmp_path / "b.csv", [session(200, 1, 1)])
    assert codes(read_miriad(tmp_path))["older-table"] == 1
    csv_file(tmp_path / "b.csv", [session(200, 1, 1, Age="71")])
    with pytest.raises(InputError) as caught:
        read_miriad(tmp_path)
    assert caught.value.code == "two-tables"


def test_two_spellings_of_one_label_are_a_contradiction(tmp_path: Path) -> None:
    scan(tmp_path, stem(200, "AD", "F", 1, 1))
    table = [session(200, 1, 1), session(200, 1, 1, Label="miriad_200_01_MR_1", Age="99")]
    csv_file(tmp_path / SCANS, table)
    found = read_miriad(tmp_path)
    assert found.sessions[0]["age"] == ""
    assert codes(found)["duplicate-row"] == 1


def test_a_label_of_no_form_is_listed(tmp_path: Path) -> None:
    scan(tmp_path, stem(200, "AD", "F", 1, 1))
    csv_file(tmp_path / SCANS, [session(200, 1, 1), session(200, 1, 1, Label="x200")])
    (finding,) = (f for f in read_miriad(tmp_path).findings if f.code == "bad-id")
    assert finding.where == f"MIRIAD/{SCANS} line 3, field Label"


def test_ages_without_decimals_are_no_calendar(tmp_path: Path) -> None:
    for visit in (1, 2):
        scan(tmp_path, stem(200, "AD", "F", visit, 1))
    csv_file(tmp_path / SCANS, [session(200, 1, 1, Age="70"), session(200, 2, 1, Age="71")])
    assert [row["days_from_baseline"] for row in read_miriad(tmp_path).sessions] == ["", ""]


def test_two_sexes_for_one_subject_leave_the_field_empty(tmp_path: Path) -> None:
    scan(tmp_path, stem(200, "AD", "F", 1, 1))
    csv_file(tmp_path / SCANS, [session(200, 1, 1)])
    csv_file(tmp_path / SUBJECTS, [{"Subject": "miriad_200", "Gender": "male"}])
    found = read_miriad(tmp_path)
    assert found.sessions[0]["sex"] == ""
    assert codes(found)["sex-conflict"] == 1


# ---------------------------------------------------------------- files


def test_a_scan_unpacked_and_packed_is_read_once(tmp_path: Path) -> None:
    name = stem(200, "AD", "F", 1, 1)
    content = nifti(1)
    write(tmp_path / f"{name}.nii", content)
    zip_file(tmp_path / "a.zip", {f"x/{name}.nii": content})
    csv_file(tmp_path / SCANS, [session(200, 1, 1)])
    found = read_miriad(tmp_path)
    assert [s.path for s in found.scans] == [f"{name}.nii"]
    assert codes(found)["unpacked-archive"] == 1
    shutil.copytree(tmp_path, tmp_path / "again", ignore=shutil.ignore_patterns("*.csv", "*.zip"))
    assert codes(read_miriad(tmp_path))["same-file-twice"] == 1


def test_a_damaged_archive_is_one_refused_scan(tmp_path: Path) -> None:
    scan(tmp_path, stem(200, "AD", "F", 1, 1))
    csv_file(tmp_path / SCANS, [session(200, 1, 1)])
    write(tmp_path / "bad.zip", b"PK\x03\x04 and no more")
    found = read_miriad(tmp_path)
    assert (len(found.scans), [f.where for f in found.refused]) == (1, ["MIRIAD/bad.zip"])


@pytest.mark.parametrize(
    ("path", "key", "group"),
    [
        ("miriad_188_AD_M_01_MR_2.nii", ("188", 1, 2), "AD"),
        ("a/miriad_188_HC_F_10_MR_1.nii.gz", ("188", 10, 1), "HC"),
        ("miriad_188_10_MR_1/x/miriad_188_HC_F_10_MR_1.nii", ("188", 10, 1), "HC"),
        ("miriad_188_2_MR_1/scans/3/scan.nii", ("188", 2, 1), ""),
        ("miriad_188_2_MR_1.nii", ("188", 2, 1), ""),
    ],
)
def test_names(path: str, key: tuple[str, int, int], group: str) -> None:
    image = named_image(path)
    assert (tuple(image.key), image.group) == (key, group)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("miriad_188_MCI_M_01_MR_2.nii", "unknown-name"),
        ("miriad_188_AD_M_1_MR_2.nii", "unknown-name"),
        ("miriad_188_AD_M_01_MR_3.nii", "unknown-name"),
        ("scan.nii", "unknown-name"),
        ("miriad_188_2_MR_1/miriad_188_AD_M_01_MR_1.nii", "name-conflict"),
    ],
)
def test_names_of_no_form(path: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        named_image(path)
    assert caught.value.code == code


def test_labels_with_and_without_padding_are_one() -> None:
    assert label_key("miriad_188_01_MR_2") == label_key("miriad_188_1_MR_2")
    assert visit_key("miriad_188_10_MMSE") == visit_key("miriad_188_10") == ("188", 10)
    assert label_key("miriad_188_1_MMSE") is None
