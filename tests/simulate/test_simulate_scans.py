"""Simulated subjects and scans: what is drawn, and what atrophy does to the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medblip.simulate.anatomy import Anatomy, build_anatomy, read_anatomy, save_anatomy
from medblip.simulate.cohort import (
    CLASSES,
    SEVERITY,
    Site,
    Subject,
    demo_cohorts,
    draw_cohort,
)
from medblip.simulate.scanner import acquire, atrophy_mm

QUIET = Site("T", (2.0, 2.0, 2.0), "RAS", 1.0, 0.0, 0.0, 3.0, skull_stripped=True)


@pytest.fixture(scope="module")
def anatomy(world: Path) -> Anatomy:
    return build_anatomy(world / "template")


def scan_with(anatomy: Anatomy, severity: float, site: Site = QUIET) -> np.ndarray:
    plan = demo_cohorts(3, 3)[0]
    subject = replace(draw_cohort(plan, 0)[0], site=site)
    session = replace(subject.sessions[0], severity=severity, age_deviation=0.0)
    return acquire(anatomy, subject, session).array


def test_more_severity_means_larger_ventricles_and_a_smaller_brain(anatomy: Anatomy) -> None:
    def dark_and_all(severity: float) -> tuple[int, int]:
        array = scan_with(anatomy, severity)
        level = QUIET.intensity
        return int(((array > 0.1 * level) & (array < 0.4 * level)).sum()), int((array > 0).sum())

    dark_ill, brain_ill = dark_and_all(SEVERITY["AD"])
    dark_well, brain_well = dark_and_all(SEVERITY["CN"])
    assert dark_ill > 1.3 * dark_well
    assert brain_ill < brain_well


def test_the_voxel_order_of_a_site_does_not_move_the_head(anatomy: Anatomy) -> None:
    plan = demo_cohorts(3, 3)[0]
    subject = replace(draw_cohort(plan, 0)[0], site=QUIET)
    session = subject.sessions[0]
    plain = acquire(anatomy, subject, session)
    turned = acquire(anatomy, replace(subject, site=replace(QUIET, axcodes="PIR")), session)
    image = nib.as_closest_canonical(nib.Nifti1Image(turned.array, turned.affine))
    assert "".join(nib.aff2axcodes(turned.affine)) == "PIR"
    np.testing.assert_array_equal(np.asarray(image.dataobj), plain.array)
    np.testing.assert_allclose(image.affine, plain.affine)


def test_a_raw_head_has_a_skull_and_noise_in_the_air(anatomy: Anatomy) -> None:
    raw = replace(QUIET, skull_stripped=False, noise=0.03)
    head, brain = scan_with(anatomy, 0.0, raw), scan_with(anatomy, 0.0)
    assert (head > 0).mean() > 0.9
    assert (brain > 0).mean() < 0.6


def test_subjects_are_balanced_over_classes_and_sites_and_have_one_to_four_sessions() -> None:
    plan = demo_cohorts(180, 12)[0]
    subjects = draw_cohort(plan, 0)
    first = [s.sessions[0].diagnosis for s in subjects]
    assert {c: first.count(c) for c in CLASSES} == dict.fromkeys(CLASSES, 60)
    assert {s.site.name for s in subjects} == {"A1", "A2", "A3"}
    counts = {len(s.sessions) for s in subjects}
    assert counts <= {1, 2, 3, 4}
    assert len(counts) > 1
    assert all(s.participant_id.startswith("sub-SIM") for s in subjects)


def test_sessions_of_a_subject_go_on_in_time_and_never_recover() -> None:
    for subject in draw_cohort(demo_cohorts(300, 3)[0], 1):
        for before, after in zip(subject.sessions, subject.sessions[1:], strict=False):
            assert after.scan_date > before.scan_date
            assert after.age > before.age
            assert CLASSES.index(after.diagnosis) >= CLASSES.index(before.diagnosis)


def test_training_and_zero_shot_cohorts_share_no_site_and_no_subject() -> None:
    training, zero_shot = (draw_cohort(plan, 0) for plan in demo_cohorts(12, 12))
    assert not {s.site.name for s in training} & {s.site.name for s in zero_shot}
    assert not {s.seed for s in training} & {s.seed for s in zero_shot}


def test_atrophy_grows_with_severity_and_with_age(anatomy: Anatomy) -> None:
    session = next(iter(_subject().sessions))
    base = atrophy_mm(replace(session, severity=0.0, age_deviation=0.0))
    ill = atrophy_mm(replace(session, severity=1.0, age_deviation=0.0))
    old = atrophy_mm(replace(session, severity=0.0, age_deviation=1.0))
    assert all(base[name] == 0 < old[name] < ill[name] for name in base)


def _subject() -> Subject:
    return draw_cohort(demo_cohorts(3, 3)[0], 0)[0]


def test_an_anatomy_survives_its_file(anatomy: Anatomy, tmp_path: Path) -> None:
    save_anatomy(anatomy, tmp_path / "a.safetensors")
    again = read_anatomy(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.head, anatomy.head)
    for name, field in anatomy.fields.items():
        np.testing.assert_array_equal(again.fields[name], field)
        assert np.sqrt((field**2).sum(0)).max() == pytest.approx(1.0, abs=1e-5)
