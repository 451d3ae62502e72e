"""What one run answered to the test questions: every score of each, and what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medblip.errors import InputError
from medblip.evaluation.intervals import Floats, number
from medblip.evaluation.vqa_shown import QUESTION_CONDITIONS, QuestionCondition
from medblip.experiments.json_file import read_kept
from medblip.experiments.simple_controls import QUESTION_CONTROLS
from medblip.experiments.trials import Trial
from medblip.storage import write_json

FULL: QuestionCondition = "full"
# Conditions without the scan that is asked about, and strategies that never see one.
WITHOUT_SCAN: tuple[QuestionCondition, ...] = ("no_image", "other_image", "blank_image")
TEXT_ALONE = ("wording", "words")
BLIND = (*WITHOUT_SCAN, *TEXT_ALONE)
CONTROL = "control."  # begins the row key of what is set beside the model
TITLES: Mapping[str, str] = {
    **{name: QUESTION_CONDITIONS[name].title for name in (FULL, *WITHOUT_SCAN)},
    **{name: QUESTION_CONTROLS[CONTROL + name] for name in TEXT_ALONE},
}


@dataclass(frozen=True)
class ShownScores:
    """Answers to all questions when one thing is shown.

    Attributes:
        scores: by name, float ``(questions,)`` from 0 to 1; NaN where a question has no such score.
        said: what was written, one a question; empty for what writes nothing.
        text_metrics: of the open answers; empty where they were not measured.
    """

    scores: Mapping[str, Floats]
    said: tuple[str, ...] = ()
    text_metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class QuestionAnswers:
    """Answers of one run to the questions about test subjects.

    Attributes:
        seed: of the run.
        ids: of the questions, in order; of a dialogue each turn is one.
        shown: by what was shown, keys of `TITLES`.
    """

    seed: int
    ids: tuple[str, ...]
    shown: Mapping[str, ShownScores]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it again."""
        return {
            "seed": self.seed,
            "ids": list(self.ids),
            "shown": {
                name: {
                    "scores": {
                        score: [number(value) for value in values]
                        for score, values in one.scores.items()
                    },
                    "said": list(one.said),
                    "text_metrics": one.text_metrics,
                }
                for name, one in self.shown.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> QuestionAnswers:
        """As `as_dict` wrote it.

        Raises:
            InputError: a value is missing, or of another kind.
        """
        try:
            shown = {
                str(name): ShownScores(
                    {str(s): np.array(v, dtype=np.float64) for s, v in one["scores"].items()},
                    tuple(one["said"]),
                    one["text_metrics"],
                )
                for name, one in values["shown"].items()
            }
            return cls(int(values["seed"]), tuple(values["ids"]), shown)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"not the answers of a run ({error})"
            fix = "remove the run's folder and run it again"
            raise InputError(where, problem, fix, code="bad-question-answers") from error


def keep_answers(trial: Trial, run: Path, answers: QuestionAnswers) -> None:
    """Write them into the run's folder."""
    write_json(_file(trial, run), answers.as_dict())


def kept_answers(trial: Trial, run: Path) -> QuestionAnswers:
    """Those of a finished trial.

    Raises:
        InputError: see `QuestionAnswers.from_dict`.
    """
    file = _file(trial, run)
    fix = "remove the run's folder and run it again"
    return read_kept(file, lambda value: QuestionAnswers.from_dict(value, file.name), fix)


def _file(trial: Trial, run: Path) -> Path:
    return run / f"answers.{trial.setting.kept_as}.json"
