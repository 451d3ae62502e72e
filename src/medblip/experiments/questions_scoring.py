"""A finished run on questions: asked, set beside its blind controls, kept, and told as records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medblip.evaluation.intervals import Floats
from medblip.evaluation.vqa_evaluate import QuestionSplit, asked_of_split, evaluate_questions
from medblip.evaluation.vqa_scores import ConditionScores, said_in_full, subject_of
from medblip.evaluation.vqa_shown import QuestionCondition
from medblip.experiments.paper_tables import UNSEEN_MARK
from medblip.experiments.questions_kept import (
    CONTROL,
    FULL,
    TEXT_ALONE,
    WITHOUT_SCAN,
    QuestionAnswers,
    ShownScores,
    keep_answers,
)
from medblip.experiments.records import Role, RunRecord
from medblip.experiments.trials import Trial
from medblip.study.study import Study
from medblip.vqa.blind import Strategy, bag_of_words, majority_of_template
from medblip.vqa.questions import Question
from medblip.vqa.refusals import is_refusal
from medblip.vqa.study_questions import study_questions

TEXT_MODELS: dict[str, Strategy] = dict(
    zip(TEXT_ALONE, (majority_of_template, bag_of_words), strict=True)
)
MAIN = "likelihood"  # the score of Table 3


def question_records(
    trial: Trial, run: Path, study: Study, cubes: Path, tokens: Path, *, progress: bool
) -> list[RunRecord]:
    """Ask a run, keep all it answered, and return what Table 3 is made from.

    Replies are kept one by one, so that what was interrupted goes on.

    Raises:
        InputError: see `evaluate_questions`.
    """
    most = trial.setting.most
    evaluation = evaluate_questions(
        run, study, cubes=cubes, tokens=tokens, most=most, progress=progress
    )
    learnt = asked_of_split(study, "train", study_questions(study), None)[1]
    records: list[RunRecord] = []
    for name, split in evaluation.splits.items():
        answers = answers_of(trial.seed, split, learnt)
        if name == "test":
            keep_answers(trial, run, answers)
        records += _records(trial, column_name(study, name != "test"), split.questions, answers)
    return records


def column_name(study: Study, unseen: bool = False) -> str:
    """Of the study's questions in Table 3."""
    name = "Simulated questions" if study.info.simulated else "The study's questions"
    return name + UNSEEN_MARK * unseen


def answers_of(seed: int, split: QuestionSplit, learnt: Sequence[Question]) -> QuestionAnswers:
    """All scores of a split, under each condition and of each model that sees the text alone.

    Args:
        learnt: the questions about the training sessions.
    """
    questions = split.questions
    shown: dict[str, ShownScores] = {
        name: _scores(split, name, split.scores[name])
        for name in (FULL, *WITHOUT_SCAN)
        if name in split.scores
    }
    for name, strategy in TEXT_MODELS.items():
        shown[name] = ShownScores({MAIN: _text_alone(strategy, learnt, questions)})
    return QuestionAnswers(seed, tuple(q.id for q in questions), shown)


def is_closed(question: Question) -> bool:
    """Whether it counts in Table 3: what no scan can show is known from the question alone."""
    return bool(question.choices) and question.answerable


def _scores(split: QuestionSplit, name: QuestionCondition, found: ConditionScores) -> ShownScores:
    pairs = zip(split.questions, split.answers[name], strict=True)
    said = tuple(said_in_full(question, answer.generated) for question, answer in pairs)
    rows = [asdict(row) for row in found.rows]
    names = dict.fromkeys(key for row in rows for key in row)
    scores = {key: np.array([float(row.get(key, np.nan)) for row in rows]) for key in names}
    scores |= {"right": found.right, "refused": np.array([float(is_refusal(s)) for s in said])}
    return ShownScores(scores, said, found.text_metrics)


def _text_alone(
    strategy: Strategy, learnt: Sequence[Question], questions: Sequence[Question]
) -> Floats:
    """Whether it is right, of each closed question; NaN of all others."""
    at = [n for n, question in enumerate(questions) if is_closed(question)]
    right = np.full(len(questions), np.nan)
    known = [q for q in learnt if is_closed(q)]
    if at and known:
        asked = [questions[n] for n in at]
        said = strategy(known, asked)
        right[at] = [float(q.answer == a) for q, a in zip(asked, said, strict=True)]
    return right


def _records(
    trial: Trial, column: str, questions: Sequence[Question], answers: QuestionAnswers
) -> Iterator[RunRecord]:
    """Of the closed questions, what is shown by what is shown."""
    at = [n for n, question in enumerate(questions) if is_closed(question)]
    subjects = tuple(subject_of(questions[n]) for n in at)
    for name, shown in answers.shown.items():
        right = shown.scores.get(MAIN, np.full(len(questions), np.nan))[at]
        if not at or np.isnan(right).any():
            continue
        role: Role = "model" if name == FULL else "control"
        row = trial.row if name == FULL else CONTROL + name
        yield RunRecord(
            trial.table, row, column, trial.seed, role, subjects, tuple(bool(r) for r in right)
        )
