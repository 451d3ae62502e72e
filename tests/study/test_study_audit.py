"""The audit finds what it is there for, keeps quiet otherwise, and names nobody."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from study_maker import make_images, make_sessions, write_study

from medblip.findings import Finding
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.study.audit import audit
from medblip.study.audit_page import write_audit
from medblip.study.study import Study


def load(tmp_path: Path, sessions: pd.DataFrame, images: pd.DataFrame | None = None) -> Study:
    return Study.load(write_study(tmp_path / "study", sessions, images))


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


def test_a_sound_study_has_only_notes(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(120, seed=1))
    findings = audit(study).findings
    assert {finding.level for finding in findings} == {"note"}
    assert {"sides", "text-only-ceiling", "label-from-site"} <= set(by_code(findings))


def test_text_only_ceiling_is_measured(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(120, seed=1))
    record = next(m for m in audit(study).predictability if m.source == "record")
    # MMSE and LM tell the label in part: well above 1/3, well below 1
    assert 0.5 < record.accuracy < 0.9
    assert record.chance == pytest.approx(1 / 3)
    assert record.subjects == 120
    assert "cdr_global" not in record.inputs
    assert record.low < record.accuracy < record.high
    told = by_code(audit(study).findings)["text-only-ceiling"].problem
    assert f"balanced accuracy {record.accuracy:.2f}" in told
    assert "without the fields that define the label" in told


def test_ceiling_without_label_defining_fields_is_lower(tmp_path: Path) -> None:
    sessions = make_sessions(240, seed=1).assign(label_defined_by="mmse,cdr_global")
    measured = {m.source: m.accuracy for m in audit(load(tmp_path, sessions)).predictability}
    assert measured["record without label-defining fields"] < measured["record"] - 0.05
    assert measured["record with every field"] == 1.0  # CDR is the label here


def test_record_that_tells_the_label_is_a_warning(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions["mmse"] = sessions["diagnosis"].map({"NC": "30", "MCI": "24", "AD": "15"})
    finding = by_code(audit(load(tmp_path, sessions)).findings)["label-in-record"]
    assert finding.level == "warning"
    assert "balanced accuracy 1.00" in finding.problem


def test_site_and_voxel_size_that_tell_the_label_are_warnings(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions["site"] = sessions["diagnosis"].map({"NC": "A", "MCI": "B", "AD": "B"})
    images = make_images(sessions)
    images["voxel_mm"] = sessions["diagnosis"].map({"NC": "1x1x1", "MCI": "1x1x1", "AD": "2x1x1"})
    findings = by_code(audit(load(tmp_path, sessions, images)).findings)
    assert findings["label-from-site"].level == "warning"
    assert findings["label-from-voxel-size"].level == "warning"


def test_too_few_subjects_are_not_measured(tmp_path: Path) -> None:
    findings = by_code(audit(load(tmp_path, make_sessions(12))).findings)
    assert findings["leakage-not-measured"].level == "note"
    assert "text-only-ceiling" not in findings


def test_fields_that_define_the_label_are_counted(tmp_path: Path) -> None:
    sessions = make_sessions(60).assign(label_defined_by="mmse,cdr_global")
    finding = by_code(audit(load(tmp_path, sessions)).findings)["label-defining-field"]
    assert "mmse helped to define the label of 60 session(s)" in finding.problem


def test_values_missing_for_one_label_are_a_warning(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions.loc[sessions["diagnosis"] == "AD", "lm_delayed"] = ""
    finding = by_code(audit(load(tmp_path, sessions)).findings)["missing-by-label"]
    assert "lm_delayed" in finding.problem
    assert "AD 100%" in finding.problem


def test_labels_of_other_age_and_sex_are_warnings(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    kind = sessions["diagnosis"]
    sessions["age"] = kind.map({"NC": "60", "MCI": "70", "AD": "80"})
    sessions["sex"] = kind.map({"NC": "F", "MCI": "F", "AD": "M"})
    findings = by_code(audit(load(tmp_path, sessions)).findings)
    assert "NC 60.0, MCI 70.0, AD 80.0" in findings["mean-age-by-label"].problem
    assert "NC 100%, MCI 100%, AD 0%" in findings["women-by-label"].problem


def two_subjects(study: Study, *, across: bool) -> tuple[str, str]:
    train = study.splits.subjects["train"]
    return (train[0], study.splits.subjects["test"][0] if across else train[1])


@pytest.mark.parametrize(
    ("across", "code"), [(True, "same-image-both-sides"), (False, "same-image-two-subjects")]
)
def test_equal_files_of_two_subjects_are_errors(tmp_path: Path, across: bool, code: str) -> None:
    sessions = make_sessions(30)
    images = make_images(sessions)
    one, two = two_subjects(load(tmp_path / "a", sessions), across=across)
    digest = images.loc[images["participant_id"] == one, "sha256"].item()
    images.loc[images["participant_id"] == two, "sha256"] = digest
    findings = audit(load(tmp_path / "b", sessions, images)).findings
    assert findings[0].level == "error"
    assert findings[0].code == code
    assert "1 image file(s)" in findings[0].problem


def test_equal_files_of_one_subject_are_a_warning(tmp_path: Path) -> None:
    sessions = make_sessions(10, visits=2)
    images = make_images(sessions)
    images.loc[1, "sha256"] = images.loc[0, "sha256"]
    findings = by_code(audit(load(tmp_path, sessions, images)).findings)
    assert findings["same-image-twice"].level == "warning"


def test_page_is_whole_and_names_nobody(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    images = make_images(sessions).assign(sha256="0" * 64)
    study = load(tmp_path, sessions, images)
    result = audit(study)
    write_audit(study, result, tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text()
    assert RESEARCH_USE in page
    assert SIMULATED_DATA in page
    assert all(finding.code in page for finding in result.findings)
    assert not [name for name in sessions["participant_id"] if name in page]
    assert not [f for f in result.findings if "SIM-A-0" in str(f)]
    assert "Text-only ceiling" in page
    assert "Beside Table 1" not in page  # no cohort of the paper
    for outside in ("http://", "https://", "<script", "<link", "src="):
        assert outside not in page


def test_page_escapes_what_comes_from_data(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(30, cohort="ADNI"))
    result = audit(study)
    result.findings.append(Finding("x", "note", "w", "<script>alert(1)</script>"))
    write_audit(study, result, tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'role="alert"' not in page  # the banner is for simulated cohorts only


def test_counts_stand_beside_table_1(tmp_path: Path) -> None:
    sessions = pd.concat(
        [
            make_sessions(60, "ADNI"),
            make_sessions(30, "OASIS1"),
            make_sessions(12, "OASIS2"),
            make_sessions(15, "SIM-MIRIAD"),
            make_sessions(9, "OTHER-COHORT"),
        ],
        ignore_index=True,
    )
    sessions.loc[0, "mmse"] = ""
    images = make_images(sessions)
    again = images.iloc[[0]].assign(run="2", path="again.nii", primary="false", sha256="0" * 64)
    study = load(tmp_path, sessions, pd.concat([images, again], ignore_index=True))
    result = audit(study)
    counts = {(row.cohort, row.what): (row.here, row.paper) for row in result.paper}
    assert {cohort for cohort, _ in counts} == {"ADNI", "OASIS", "MIRIAD"}
    assert counts["ADNI", "images"] == ("61", "10387")  # a second run is an image too
    assert counts["ADNI", "with MMSE"] == ("59", "9385")
    assert counts["OASIS", "images"] == ("42", "3020")
    assert counts["MIRIAD", "images"] == ("15", "708")
    assert counts["ADNI", "labels"][0] == "NC 21, MCI 20, AD 20"
    assert int(counts["ADNI", "female"][0]) + int(counts["ADNI", "male"][0]) == 61
    assert counts["ADNI", "with SES"][0] == "0"
    write_audit(study, result, tmp_path / "audit.html")
    assert "Beside Table 1" in (tmp_path / "audit.html").read_text()


def test_sessions_without_a_label_are_counted_by_cohort(tmp_path: Path) -> None:
    sessions = pd.concat([make_sessions(30, "SIM-A"), make_sessions(30, "SIM-B")])
    sessions = sessions.reset_index(drop=True)
    sessions.loc[:4, "diagnosis"] = ""
    sessions.loc[30:31, "diagnosis"] = ""
    sessions.loc[40, "diagnosis"] = "OTHER"
    findings = by_code(audit(load(tmp_path, sessions)).findings)
    assert "7 session(s)" in findings["no-diagnosis"].problem
    assert "SIM-A 5, SIM-B 2" in findings["no-diagnosis"].problem
    assert "1 session(s)" in findings["other-diagnosis"].problem


def test_shared_identifiers_and_milder_diagnoses_are_notes(tmp_path: Path) -> None:
    sessions = pd.concat([make_sessions(30, "SIM-A", visits=2), make_sessions(30, "SIM-B")])
    sessions = sessions.reset_index(drop=True)
    sessions.loc[sessions["participant_id"] == "SIM-A-0004", "diagnosis"] = ["MCI", "NC"]
    findings = by_code(audit(load(tmp_path, sessions)).findings)
    assert findings["shared-identifier"].level == "note"
    assert findings["shared-identifier"].problem.startswith("30 identifier(s)")
    assert "MCI to NC 1" in findings["label-reversal"].problem
    assert "label-jump" not in findings


def test_numbers_of_sites_are_not_taken_for_visits(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions["participant_id"] = [f"SIM-A-S{n // 20:02d}-M{n % 20:03d}" for n in range(60)]
    assert "visits-as-subjects" not in by_code(audit(load(tmp_path, sessions)).findings)


def test_line_numbers_are_few_and_those_of_the_file(tmp_path: Path) -> None:
    sessions = make_sessions(90).assign(match_days="-120")
    finding = by_code(audit(load(tmp_path, sessions)).findings)["label-from-later-visit"]
    assert finding.where == "sessions.tsv lines 2, 3, 4, 5, 6 and 85 more"
