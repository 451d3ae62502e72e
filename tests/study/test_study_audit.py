"""The audit finds what it is there for, keeps quiet otherwise, and names nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_maker import make_images, make_sessions, write_study

from medblip.findings import Finding
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.study.audit import audit, audit_study, write_audit
from medblip.study.duplicates import near_duplicates, thumbnail
from medblip.study.study import Study


def load(tmp_path: Path, sessions: pd.DataFrame, images: pd.DataFrame | None = None) -> Study:
    return Study.load(write_study(tmp_path / "study", sessions, images))


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


def test_a_sound_study_has_only_notes(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(120, seed=1))
    findings = audit_study(study)
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


def test_record_that_tells_the_label_is_a_warning(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions["mmse"] = sessions["diagnosis"].map({"NC": "30", "MCI": "24", "AD": "15"})
    finding = by_code(audit_study(load(tmp_path, sessions)))["label-in-record"]
    assert finding.level == "warning"
    assert "balanced accuracy 1.00" in finding.problem


def test_site_and_voxel_size_that_tell_the_label_are_warnings(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions["site"] = sessions["diagnosis"].map({"NC": "A", "MCI": "B", "AD": "B"})
    images = make_images(sessions)
    images["voxel_mm"] = sessions["diagnosis"].map({"NC": "1x1x1", "MCI": "1x1x1", "AD": "2x1x1"})
    findings = by_code(audit_study(load(tmp_path, sessions, images)))
    assert findings["label-from-site"].level == "warning"
    assert findings["label-from-voxel-size"].level == "warning"


def test_too_few_subjects_are_not_measured(tmp_path: Path) -> None:
    findings = by_code(audit_study(load(tmp_path, make_sessions(12))))
    assert findings["leakage-not-measured"].level == "note"
    assert "text-only-ceiling" not in findings


def test_fields_that_define_the_label_are_counted(tmp_path: Path) -> None:
    sessions = make_sessions(60).assign(label_defined_by="mmse,cdr_global")
    finding = by_code(audit_study(load(tmp_path, sessions)))["label-defining-field"]
    assert "mmse helped to define the label of 60 session(s)" in finding.problem


def test_values_missing_for_one_label_are_a_warning(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    sessions.loc[sessions["diagnosis"] == "AD", "lm_delayed"] = ""
    finding = by_code(audit_study(load(tmp_path, sessions)))["missing-by-label"]
    assert "lm_delayed" in finding.problem
    assert "AD 100%" in finding.problem


def test_labels_of_other_age_and_sex_are_warnings(tmp_path: Path) -> None:
    sessions = make_sessions(60)
    kind = sessions["diagnosis"]
    sessions["age"] = kind.map({"NC": "60", "MCI": "70", "AD": "80"})
    sessions["sex"] = kind.map({"NC": "F", "MCI": "F", "AD": "M"})
    findings = by_code(audit_study(load(tmp_path, sessions)))
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
    findings = audit_study(load(tmp_path / "b", sessions, images))
    assert findings[0].level == "error"
    assert findings[0].code == code
    assert "1 image file(s)" in findings[0].problem


def test_equal_files_of_one_subject_are_a_warning(tmp_path: Path) -> None:
    sessions = make_sessions(10, visits=2)
    images = make_images(sessions)
    images.loc[1, "sha256"] = images.loc[0, "sha256"]
    findings = by_code(audit_study(load(tmp_path, sessions, images)))
    assert findings["same-image-twice"].level == "warning"


def cube(seed: int, size: int = 32) -> np.ndarray:
    """A ball with a texture of its own, on a shape that all share."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(-1, 1, size)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    coarse = np.kron(rng.uniform(0.8, 1.2, (8, 8, 8)), np.ones((size // 8,) * 3))
    return np.clip(np.where(radius < 0.9, 150 * coarse, 0), 0, 255).astype(np.uint8)


def test_near_duplicates_are_found_and_other_heads_are_not() -> None:
    cubes = [cube(seed) for seed in range(12)]
    noise = np.random.default_rng(99).normal(0, 4, cubes[3].shape)
    again = np.clip(0.9 * cubes[3] + np.where(cubes[3] > 0, noise, 0), 0, 255).astype(np.uint8)
    thumbnails = np.stack([thumbnail(array) for array in [*cubes, again]])
    assert thumbnails.shape == (13, 12**3)
    assert near_duplicates(thumbnails).tolist() == [[3, 12]]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_near_duplicates_of_few_images(count: int) -> None:
    same = np.stack([thumbnail(cube(1))] * count) if count else np.empty((0, 1728), np.float16)
    assert len(near_duplicates(same)) == count * (count - 1) // 2
    other = np.stack([thumbnail(cube(s)) for s in range(count)]) if count else same
    assert len(near_duplicates(other)) == 0


def test_thumbnail_holds_the_block_means() -> None:
    array = np.arange(24**3, dtype=np.int64).reshape(24, 24, 24).astype(np.uint8)
    blocks = array.reshape(12, 2, 12, 2, 12, 2).mean(axis=(1, 3, 5))
    # float16 keeps 11 bits
    np.testing.assert_allclose(thumbnail(array), blocks.ravel(), rtol=2**-10)
    assert thumbnail(array[:8, :8, :8]).shape == (512,)


def test_near_duplicates_across_the_split_are_counted(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(30))
    one, two = two_subjects(study, across=True)
    thumbnails = {
        row.cube: thumbnail(cube(1000 if row.participant_id in (one, two) else index))
        for index, row in enumerate(study.images.itertuples())
    }
    finding = by_code(audit_study(study, thumbnails))["near-duplicate"]
    assert finding.level == "warning"
    assert "1 pair(s)" in finding.problem
    assert "1 of them across" in finding.problem


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
