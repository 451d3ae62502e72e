"""The named subsets: own labels only, each input asked once, controls beside, sizes told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from medblip.evaluation.calibration import Temperature
from medblip.evaluation.controls import Condition, ModelInput, Scorer
from medblip.evaluation.kept_scores import KeptScores
from medblip.evaluation.paper_subsets import SubsetTask, evaluate_subsets, subset_as_dict
from medblip.study.labels import LABELS, Label
from medblip.study.study import Example
from medblip.study.subsets import Subset, SubsetImage


@dataclass
class CountingScorer:
    """Knows the truth from the cube's name, doubts it without an image, and counts its work."""

    asked: list[ModelInput] = field(default_factory=list)

    def inputs(self, examples: Sequence[Example], condition: Condition) -> list[ModelInput]:
        return [
            ModelInput(
                "" if condition == "image" else e.fields["mmse"],
                "" if condition == "record" else e.cube,
            )
            for e in examples
        ]

    def score(self, inputs: Sequence[ModelInput], *, title: str, progress: bool) -> np.ndarray:
        self.asked += inputs
        rows = np.full((len(inputs), 3), -4.0, np.float32)
        for row, shown in zip(rows, inputs, strict=True):
            truth = shown.image.split("-")[0]
            row[LABELS.index(cast(Label, truth)) if truth else 1] = -2.0  # without one: MCI
            if "swayed" in shown.image:
                row[1] = -1.0  # would say MCI, were it a candidate
        return rows


def example(number: int, label: Label, session: int = 1, run: int = 1, cube: str = "") -> Example:
    image = f"{number}-{session}-{run}.nii"
    name = cube or f"{label}-{number}-{session}-{run}"
    return Example(f"M-{number}", str(session), "M", "", {"mmse": "2"}, label, name, image)


def task(
    name: str, unit: str, labels: tuple[str, ...], examples: list[Example], wanted: int = 200
) -> SubsetTask:
    drawn = len(examples) // len(labels)
    images = tuple(SubsetImage(e.participant_id, e.session_id, e.image, e.label) for e in examples)
    available = dict.fromkeys(labels, drawn)
    subjects = len({e.participant_id for e in examples})
    args = (name, unit, ("M",), labels, wanted, drawn, available, subjects, images)
    return SubsetTask(Subset(*args), examples)  # type: ignore[arg-type]


def kept(folder: Path, scorer: CountingScorer) -> KeptScores:
    return KeptScores(folder, cast(Scorer, scorer), progress=False)


ONE_EACH = [example(1, "NC"), example(2, "NC"), example(3, "AD"), example(4, "AD")]
ALL_OF_THEM = ONE_EACH + [example(n, e.label, run=2) for n, e in enumerate(ONE_EACH, 1)]


def both_units() -> list[SubsetTask]:
    return [
        task("MIRIAD-2x200", "subject", ("NC", "AD"), ONE_EACH),
        task("MIRIAD-2x200", "image", ("NC", "AD"), ALL_OF_THEM),
    ]


def test_intervals_are_over_subjects_and_controls_are_paired(tmp_path: Path) -> None:
    one, every = evaluate_subsets(both_units(), kept(tmp_path, CountingScorer()), Temperature())
    assert one.full is not None
    assert every.full is not None
    assert (one.full.n_rows, one.full.n_subjects) == (4, 4)
    assert (every.full.n_rows, every.full.n_subjects) == (8, 4)
    assert one.full.accuracy.value == every.full.accuracy.value == 1
    record, image = every.controls
    assert (record.withholds, image.withholds) == ("image", "record")
    # Neither NC nor AD is favoured without the scan: the first candidate is given, half are right.
    assert record.metrics.accuracy.value == 0.5
    assert record.against_full.difference.value == -0.5
    assert (record.against_full.b_better, record.against_full.n_subjects) == (2, 4)


def test_two_labels_are_scored_over_their_two_answers(tmp_path: Path) -> None:
    swayed = [example(1, "NC", cube="NC-swayed"), example(2, "AD", cube="AD-swayed")]
    labels: tuple[Any, ...] = ("NC", "AD")
    (two,) = evaluate_subsets(
        [task("OASIS-2x200", "image", labels, swayed)],
        kept(tmp_path / "two", CountingScorer()),
        Temperature(),
    )
    assert two.full is not None
    assert two.full.classes == labels
    assert two.full.accuracy.value == 1  # the third answer, which scores higher, is no candidate
    three_labels = [*swayed, example(3, "MCI")]
    (three,) = evaluate_subsets(
        [task("ADNI-3x200", "image", LABELS, three_labels)],
        kept(tmp_path / "three", CountingScorer()),
        Temperature(),
    )
    assert three.full is not None
    assert three.full.accuracy.value == pytest.approx(1 / 3)


def test_no_input_is_scored_twice(tmp_path: Path) -> None:
    scorer = CountingScorer()
    scores = kept(tmp_path, scorer)
    scores.scores("test", ONE_EACH, "full")
    assert len(scorer.asked) == 4
    evaluate_subsets(both_units(), scores, Temperature())
    # Four more scans with the record, eight scans alone, and one record, which all share.
    assert len(scorer.asked) == 4 + 4 + 8 + 1
    assert len(set(scorer.asked)) == len(scorer.asked)


def test_an_interrupted_evaluation_goes_on_from_its_files(tmp_path: Path) -> None:
    first = evaluate_subsets(both_units(), kept(tmp_path, CountingScorer()), Temperature(2.0))
    again = CountingScorer()
    second = evaluate_subsets(both_units(), kept(tmp_path, again), Temperature(2.0))
    assert again.asked == []
    assert [subset_as_dict(s) for s in first] == [subset_as_dict(s) for s in second]


def test_another_record_or_scan_is_scored_anew(tmp_path: Path) -> None:
    kept(tmp_path, CountingScorer()).scores("test", ONE_EACH, "full")
    other = CountingScorer()
    changed = [*ONE_EACH[:3], example(4, "AD", cube="AD-prepared-again")]
    kept(tmp_path, other).scores("test", changed, "full")
    assert [shown.image for shown in other.asked] == ["AD-prepared-again"]


def test_sizes_and_empty_subsets_are_told(tmp_path: Path) -> None:
    tasks = [*both_units(), task("AIBL-3x200", "subject", LABELS, [])]
    one, _, none = evaluate_subsets(tasks, kept(tmp_path, CountingScorer()), Temperature())
    assert one.size == "2 x 2 scans; in the paper 2 x 200 (here to draw from: NC 2, AD 2)"
    assert (none.full, none.controls) == (None, ())
    value = subset_as_dict(none)
    assert value["conditions"] == {}
    assert (value["per_label"], value["per_label_in_paper"]) == (0, 200)
    whole = task("MIRIAD-2x200", "subject", ("NC", "AD"), ONE_EACH, wanted=2)
    (full,) = evaluate_subsets([whole], kept(tmp_path / "x", CountingScorer()), Temperature())
    assert full.size == "2 x 2 scans"
