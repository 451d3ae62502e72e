"""``evaluate --questions``: a trained run on the questions of a study, with its blind controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medblip.errors import InputError, UsageError
from medblip.evaluation.evaluate import SCORES_FOLDER, finished_recipe, load_scorer
from medblip.evaluation.vqa_answers import Answered, KeptReplies
from medblip.evaluation.vqa_scores import ConditionScores, score_condition
from medblip.evaluation.vqa_shown import (
    OF_TWO_SCANS,
    QUESTION_CONDITIONS,
    QuestionCondition,
    ScannedSession,
    Scans,
    scans_of,
    spread,
)
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.storage import write_json, write_text
from medblip.study.splits import SplitName
from medblip.study.study import Example, Study
from medblip.vqa.priors import Visits, prior_cubes, visits_of
from medblip.vqa.question_file import QUESTIONS_FILE
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import asked_about, by_session, study_questions, unrolled
from medblip.vqa.text_metrics import text_metrics

QUESTION_RESULTS_FILE = "question_results.json"
QUESTION_ANSWERS_FILE = "question_answers.tsv"
# What is shown to subjects of cohorts that were never trained on: the model as it is used.
ASKED: dict[SplitName, tuple[QuestionCondition, ...]] = {
    "test": tuple(QUESTION_CONDITIONS),
    "zero_shot": ("full",),
}  # those of `OF_TWO_SCANS` where questions compare two


@dataclass(frozen=True)
class QuestionSplit:
    """One split's questions and what was answered, by condition.

    Attributes:
        questions: of a dialogue each turn is one.
        answers, scores: by condition, in their order.
    """

    questions: tuple[Question, ...]
    answers: Mapping[QuestionCondition, Sequence[Answered]]
    scores: Mapping[QuestionCondition, ConditionScores]

    @property
    def n_subjects(self) -> int:
        groups = self.scores["full"].groups.values()
        return max(group.n_subjects for group in groups)

    def as_dict(self) -> dict[str, Any]:
        return {
            "questions": len(self.questions),
            "subjects": self.n_subjects,
            "conditions": {
                condition: {
                    "title": QUESTION_CONDITIONS[condition].title,
                    "explanation": QUESTION_CONDITIONS[condition].explanation,
                    **scores.as_dict(),
                }
                for condition, scores in self.scores.items()
            },
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Of each question what was said, and whether it was right under each condition."""
        for at, question in enumerate(self.questions):
            row: dict[str, Any] = {
                "id": question.id,
                "kind": question.kind,
                "answer": question.answer,
                "generated": self.answers["full"][at].generated,
            }
            row |= {c: int(np.rint(s.right[at])) for c, s in self.scores.items()}
            yield {key: _one_line(value) for key, value in row.items()}


@dataclass(frozen=True)
class QuestionEvaluation:
    """All that is reported of a study's questions.

    Attributes:
        simulated: the data are.
        splits: those that have questions; ``test`` is always there.
        most: so many of each kind were asked; None for all.
    """

    simulated: bool
    splits: Mapping[SplitName, QuestionSplit]
    most: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": "medblip-question-results/1",
            "created": datetime.now(UTC).date().isoformat(),
            "notice": RESEARCH_USE,
            "simulated": SIMULATED_DATA if self.simulated else None,
            "most_of_each_kind": self.most,
            "splits": {name: split.as_dict() for name, split in self.splits.items()},
        }


def evaluate_questions(
    run: Path,
    study: Study,
    *,
    cubes: Path,
    tokens: Path,
    most: int | None = None,
    progress: bool = True,
) -> QuestionEvaluation:
    """Ask the model of a run the study's questions about test and zero-shot subjects.

    Writes ``question_results.json`` and ``question_answers.tsv``. Replies are kept per condition,
    so that an interrupted evaluation goes on where it stopped.

    Args:
        most: so many questions of each kind, evenly spaced; None asks all.

    Raises:
        InputError: the run is not finished, or the study has no questions about test subjects.
    """
    recipe = finished_recipe(run)
    questions = study_questions(study)
    scorer = load_scorer(run, recipe, cubes, tokens)
    kept = KeptReplies(run / SCORES_FOLDER, scorer, progress, recipe.shows_choices)
    splits: dict[SplitName, QuestionSplit] = {}
    visits = visits_of(study)
    for name, conditions in ASKED.items():
        examples, asked = asked_of_split(study, name, questions, most)
        if not asked:
            continue
        cubes_of = [example.cube for example in examples]
        scorer.cache.fill([*cubes_of, *prior_cubes(asked, visits)], progress=progress)
        splits[name] = _ask(name, examples, asked, conditions, kept, visits)
    if "test" not in splits:
        problem = f"none of {len(questions)} questions is about a test subject"
        raise InputError(QUESTIONS_FILE, problem, "ask about these too", code="no-questions")
    evaluation = QuestionEvaluation(study.info.simulated, splits, most)
    write_json(run / QUESTION_RESULTS_FILE, evaluation.as_dict())
    write_text(run / QUESTION_ANSWERS_FILE, _table(splits))
    return evaluation


def asked_of_split(
    study: Study, split: SplitName, questions: Sequence[Question], most: int | None
) -> tuple[list[Example], list[Question]]:
    """The sessions of a split that questions are about, and these, of a dialogue each turn."""
    found = by_session(questions)
    pairs = list(asked_about(study.examples(split), found))
    asked = spread([turn for _, question in pairs for turn in unrolled(question)], most)
    about = by_session(asked)
    keys = {(e.participant_id, e.session_id): e for e, _ in pairs}
    return [example for key, example in keys.items() if key in about], asked


def _ask(
    name: SplitName,
    examples: Sequence[Example],
    questions: Sequence[Question],
    conditions: Sequence[QuestionCondition],
    kept: KeptReplies,
    visits: Visits,
) -> QuestionSplit:
    sessions = [ScannedSession(e.participant_id, e.session_id, e.cube) for e in examples]
    compared = dict.fromkeys(q.prior for q in questions if q.prior)
    priors = [ScannedSession(p.participant_id, p.session_id, visits[p].cube) for p in compared]
    shown = {
        condition: scans_of(questions, sessions, priors, condition)
        for condition in conditions
        if priors or condition not in OF_TWO_SCANS
    }
    return put(name, questions, shown, kept)


def put(
    name: str,
    questions: Sequence[Question],
    shown: Mapping[QuestionCondition, Sequence[Scans]],
    kept: KeptReplies,
) -> QuestionSplit:
    """Put the questions to a model under each condition, and score what comes back.

    Args:
        name: of the set, for the files of its replies.
        shown: under each condition what is shown with each question; ``full`` first.
    """
    answers: dict[QuestionCondition, Sequence[Answered]] = {}
    scores: dict[QuestionCondition, ConditionScores] = {}
    for condition, scans in shown.items():
        answers[condition] = kept.answers(name, questions, scans, condition)
        told = _text_metrics(questions, answers[condition])
        scores[condition] = score_condition(questions, answers[condition], scores.get("full"), told)
    return QuestionSplit(tuple(questions), answers, scores)


def _text_metrics(
    questions: Sequence[Question], answers: Sequence[Answered]
) -> dict[str, float] | None:
    """BLEU, ROUGE and METEOR of the open answers, where their libraries are installed."""
    pairs = [
        (answer.generated, question.answer)
        for question, answer in zip(questions, answers, strict=True)
        if not question.choices and question.answerable
    ]
    if not pairs:
        return None
    try:
        return asdict(text_metrics([said for said, _ in pairs], [true for _, true in pairs]))
    except UsageError as error:
        if error.code != "missing-extra":
            raise
        return None


def _table(splits: Mapping[SplitName, QuestionSplit]) -> str:
    rows = [{"split": name, **row} for name, split in splits.items() for row in split.rows()]
    return pd.DataFrame(rows).to_csv(sep="\t", index=False)


def _one_line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value
