"""BIDS folders of several makers become the same rows; facts come from where they are stated."""

from __future__ import annotations

import json
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
    write_bids,
    write_tsv,
)

from medblip.cohorts.bids import read_bids


def test_simulated_data_set_is_read_whole(tmp_path: Path) -> None:
    found = read_bids(data_set(tmp_path / "a", 7))
    assert (found.cohort, len(found.sessions), len(found.scans)) == ("SIM-A", 7, 7)
    assert found.refused == found.findings == []
    assert row(found, "SIM-A-SIMA0002") == {
        "cohort": "SIM-A",
        "participant_id": "SIM-A-SIMA0002",
        "session_id": "ses-01",
        "visit_code": "01",
        "scan_date": "2015-03-02",
        "days_from_baseline": "0",
        "age": "66.5",
        "sex": "M",
        "education_years": "11",
        "mmse": "26",
        "cdr_global": "0.5",
        "lm_immediate": "10",
        "lm_delayed": "8",
        "diagnosis": "MCI",
        "diagnosis_source": "diagnosis=MCI",
        "label_defined_by": "cdr_global,cdr_sb",
        "site": "A1",
    }
    assert row(found, "SIM-A-SIMA0007")["missing_codes"] == "lm_delayed=n/a"
    assert set(found.tables) == {"dataset_description.json", "participants.tsv"}


def test_days_are_counted_from_the_first_session(tmp_path: Path) -> None:
    root = write_bids(tmp_path, "SIM-A", 1, images=False)
    rows = [
        session_cells(0, "ses-02", acq_time="2016-03-01"),
        session_cells(0, "ses-01", acq_time="2015-03-01"),
    ]
    write_tsv(root / "sub-SIMA0001/sub-SIMA0001_sessions.tsv", SESSION_HEADER, rows)
    for session in ("ses-01", "ses-02"):
        scan(root, "sub-SIMA0001", session)
    days = {r["session_id"]: r["days_from_baseline"] for r in read_bids(root).sessions}
    assert days == {"ses-01": "0", "ses-02": "366"}


def test_clinica_adni_names_are_known(tmp_path: Path) -> None:
    person = {
        "alternative_id_1": "002_S_0413",
        "sex": "Female",
        "education_level": "16",
        "diagnosis_sc": "AD",
    }
    visit = {
        "session_id": "ses-M00",
        "examination_date": "2006-05-19",
        "age": "76.3",
        "diagnosis": "CN",
        "cdr_global": "0.0",
        "MMSE": "29.0",
        "logmem_imm": "13",
        "logmem_delay": "-4",
    }
    root = clinica(tmp_path / "c", "sub-ADNI002S0413", person, [visit])
    scan(root, "sub-ADNI002S0413", "ses-M00")
    found = read_bids(root)
    assert found.cohort == "My-clinic-2020"
    result = row(found, "My-clinic-2020-ADNI002S0413")
    assert (
        result
        | {
            "session_id": "ses-M00",
            "visit_code": "M00",
            "clinical_date": "2006-05-19",
            "days_from_baseline": "0",
            "sex": "F",
            "education_years": "16",
            "age": "76.3",
            "mmse": "29",
            "cdr_global": "0",
            "lm_immediate": "13",
            "missing_codes": "lm_delayed=-4",
            "diagnosis": "NC",
            "diagnosis_source": "diagnosis=CN",
            "label_defined_by": "mmse,cdr_global,cdr_sb,lm_delayed",
        }
        == result
    )
    note = only(found.findings)
    assert note.code == "extra-column"
    assert "alternative_id_1, diagnosis_sc" in note.problem


def test_clinica_oasis_baseline_columns_fill_what_the_session_lacks(tmp_path: Path) -> None:
    person = {"sex": "M", "education_level": "3", "age_bl": "74", "diagnosis_bl": "AD"}
    visit = {"session_id": "ses-M000", "cdr_global": "n/a", "MMS": "22", "diagnosis": "n/a"}
    root = clinica(tmp_path / "c", "sub-OASIS10003", person, [visit])
    scan(root, "sub-OASIS10003", "ses-M000")
    result = row(read_bids(root), "My-clinic-2020-OASIS10003")
    assert result["education_code"] == "3"
    assert "education_years" not in result
    assert (result["age"], result["mmse"]) == ("74", "22")
    assert (result["diagnosis"], result["diagnosis_source"]) == ("AD", "diagnosis_bl=AD")
    assert result["label_defined_by"] == "cdr_global"


def test_baseline_columns_say_nothing_of_later_sessions(tmp_path: Path) -> None:
    person = {"sex": "M", "diagnosis_bl": "CN"}
    visits = [
        {"session_id": session, "age": "70", "diagnosis": "n/a"}
        for session in ("ses-M000", "ses-M012")
    ]
    root = clinica(tmp_path / "c", "sub-X1", person, visits)
    for session in ("ses-M000", "ses-M012"):
        scan(root, "sub-X1", session)
    found = read_bids(root)
    assert row(found, "My-clinic-2020-X1", "ses-M000")["diagnosis"] == "NC"
    assert "diagnosis" not in row(found, "My-clinic-2020-X1", "ses-M012")
    assert codes(found.findings) == {"no-diagnosis": 1}


@pytest.mark.parametrize(
    ("units", "field"), [("year", "education_years"), ("years", "education_years"), ("", None)]
)
def test_education_level_is_read_only_when_its_unit_is_known(
    tmp_path: Path, units: str, field: str | None
) -> None:
    person = {"sex": "M", "education_level": "12", "age": "70", "diagnosis": "CN"}
    root = clinica(tmp_path / "c", "sub-X1", person, [])
    touch(root / "sub-X1/anat/sub-X1_T1w.nii")
    (root / "participants.json").write_text(json.dumps({"education_level": {"Units": units}}))
    found = read_bids(root)
    if field:
        assert row(found, "My-clinic-2020-X1")[field] == "12"
    else:
        assert "education-unit" in codes(found.findings)
        assert not {"education_years", "education_code"} & set(row(found, "My-clinic-2020-X1"))


def test_data_set_without_sessions(tmp_path: Path) -> None:
    person = {"age": "89+", "sex": "m", "diagnosis": "Dementia", "site": "S1"}
    root = clinica(tmp_path / "c", "sub-X1", person, [])
    touch(root / "sub-X1/anat/sub-X1_T1w.nii")
    found = read_bids(root)
    result = row(found, "My-clinic-2020-X1")
    assert result["session_id"] == "single"
    assert (result["age"], result["sex"], result["diagnosis"]) == ("89", "M", "AD")
    assert found.scans[0].path == "sub-X1/anat/sub-X1_T1w.nii"


def test_participants_table_says_nothing_of_one_of_several_visits(tmp_path: Path) -> None:
    person = {"age": "70", "sex": "M", "diagnosis": "CN"}
    root = clinica(tmp_path / "c", "sub-X1", person, [])
    for session in ("ses-1", "ses-2"):
        scan(root, "sub-X1", session)
    found = read_bids(root)
    assert len(found.scans) == 2
    for result in found.sessions:
        assert (result["sex"], result["age"], result["diagnosis"]) == ("M", "", "")
    assert codes(found.findings) == {"no-diagnosis": 2}


def test_primary_image_is_the_plain_first_run(tmp_path: Path) -> None:
    root = data_set(tmp_path, 1)
    for extra in ("acq-mprage_run-1_", "run-2_", "rec-norm_", "run-10_"):
        scan(root, "sub-SIMA0001", extra=extra)
    ordered = [s.path.rsplit("ses-01_", 1)[1] for s in read_bids(root).scans]
    assert ordered == [
        "T1w.nii.gz",
        "run-2_T1w.nii.gz",
        "run-10_T1w.nii.gz",
        "acq-mprage_run-1_T1w.nii.gz",
        "rec-norm_T1w.nii.gz",
    ]
    assert [s.rank for s in read_bids(root).scans] == [0, 1, 2, 3, 4]


def test_other_files_are_no_t1w_scans(tmp_path: Path) -> None:
    root = data_set(tmp_path, 1)
    anat = root / "sub-SIMA0001/ses-01/anat"
    for name in ("x_T2w.nii.gz", "x_mod-T1w_defacemask.nii.gz", "notes.txt", "T1w.nii"):
        touch(anat / name.replace("x_", "sub-SIMA0001_ses-01_"))
    assert len(read_bids(root).scans) == 1


def test_sidecar_gives_site_field_strength_and_kind(tmp_path: Path) -> None:
    root = data_set(tmp_path, 2)
    text = (root / "participants.tsv").read_text().replace("A1", "n/a")
    (root / "participants.tsv").write_text(text)
    (root / "T1w.json").write_text('{"MagneticFieldStrength": 1.5, "InstitutionName": "Here"}')
    beside = root / "sub-SIMA0002/ses-01/anat/sub-SIMA0002_ses-01_T1w.json"
    beside.write_text('{"MagneticFieldStrength": 15000, "SkullStripped": true}')
    found = read_bids(root)
    one, two = (row(found, f"SIM-A-SIMA000{n}") for n in (1, 2))
    assert (one["site"], one["field_strength_t"], found.scans[0].kind) == ("A0", "1.5", "raw")
    assert (two["site"], found.scans[1].kind) == ("Here", "skull-stripped")
    assert "field_strength_t" not in two


def test_clinica_aibl_is_read_with_its_names_and_blanks(tmp_path: Path) -> None:
    person = {"date_of_birth": "1941", "sex": "F", "site": "2", "apoe_gen1": "3", "apoe_gen2": "4"}
    columns = ("session_id", "examination_date", "age", "cdr_global", "MMS", "diagnosis")
    visits = [
        ("ses-M000", "2007-01-20", "65", "0.0", "29", "CN"),
        ("ses-M018", "2008-07-21", "67", "n/a", "n/a", "MCI"),
    ]
    table = [dict(zip(columns, visit, strict=True)) for visit in visits]
    root = clinica(tmp_path / "c", "sub-AIBL12", person, table)
    for session, *_ in visits:
        scan(root, "sub-AIBL12", session)
        name = f"anat / sub-AIBL12_{session}_T1w.nii.gz"
        file = root / f"sub-AIBL12/{session}/sub-AIBL12_{session}_scans.tsv"
        write_tsv(file, ["filename", "acq_time"], [[name, "n/a"]])
    found = read_bids(root)
    assert (len(found.scans), found.refused) == (2, [])
    first, later = (row(found, "My-clinic-2020-AIBL12", session) for session, *_ in visits)
    assert (first["mmse"], first["cdr_global"], first["diagnosis"]) == ("29", "0", "NC")
    assert (later["age"], later["diagnosis"], later["sex"]) == ("67", "MCI", "F")
    assert not {"mmse", "cdr_global"} & set(later)
