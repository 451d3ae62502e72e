"""Controls and calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from medblip.errors import InputError
from medblip.evaluation.answering import label_of_text
from medblip.evaluation.calibration import CALIBRATION_FILE, Temperature, fit_temperature
from medblip.evaluation.controls import other_subjects
from medblip.study.study import Example


def example(subject: int, label: str = "NC") -> Example:
    return Example(f"S{subject}", "1", "C", "", {}, label, f"{subject}.st", "a.nii")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_another_subjects_scan_is_never_ones_own_and_each_is_used_once(seed: int) -> None:
    examples = [example(i) for i in range(30)]
    shown = other_subjects(examples, seed)
    assert all(a.participant_id != b.participant_id for a, b in zip(examples, shown, strict=True))
    assert {e.participant_id for e in shown} == {e.participant_id for e in examples}


def test_two_sessions_of_one_subject_are_not_exchanged() -> None:
    examples = [example(0), example(0), example(0), example(1)]
    for seed in range(20):
        shown = other_subjects(examples, seed)
        pairs = zip(examples, shown, strict=True)
        assert all(a.participant_id != b.participant_id for a, b in pairs)


def test_other_scans_are_drawn_without_regard_to_the_label() -> None:
    examples = [example(i, ("NC", "MCI", "AD")[i % 3]) for i in range(300)]
    same = np.mean(
        [a.label == b.label for a, b in zip(examples, other_subjects(examples, 0), strict=True)]
    )
    # One in three by chance; 300 draws: four standard deviations are 0.11.
    assert same == pytest.approx(1 / 3, abs=0.11)


def test_the_temperature_is_the_one_the_scores_were_spoilt_with(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    honest = log_softmax(rng.normal(0, 1.5, (4000, 3)), axis=1)
    labels = np.array([rng.choice(3, p=p) for p in softmax(honest, axis=1)])
    temperature = fit_temperature(honest * 2.5, labels)
    assert temperature.value == pytest.approx(2.5, rel=0.1)
    temperature.save(tmp_path)
    assert Temperature.load(tmp_path) == temperature
    assert Temperature.load(tmp_path).calibrated


def test_no_calibration_says_so_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert not Temperature.load(tmp_path).calibrated
    (tmp_path / CALIBRATION_FILE).write_text('{"value": "warm"}')
    with pytest.raises(InputError, match="not a calibration"):
        Temperature.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("dementia", "AD"),
        (" Dementia. ", "AD"),
        ("not demented", "NC"),
        ("mild cognitive impairment", "MCI"),
        ("no dementia", "unparsed"),
        ("dementia or not demented", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_generated_text_is_matched_letter_for_letter(text: str, label: str) -> None:
    assert label_of_text(text) == label
