"""``evaluate --questions``: a trained run on the questions of a study, with its blind controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    QUESTION_CONDITIONS,
    QuestionCondition,
    images_of,
    spread,
)
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.storage import write_json, write_text
from medblip.study.splits import SplitName
from medblip.study.study import Example, Study
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
}


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
            "splits": {
                name: {
                    "questions": len(split.questions),
                    "subjects": split.n_subjects,
                    "conditions": {
                        condition: {
                            "title": QUESTION_CONDITIONS[condition].title,
                            "explanation": QUESTION_CONDITIONS[condition].explanation,
                            **scores.as_dict(),
                        }
                        for condition, scores in split.scores.items()
                    },
                }
                for name, split in self.splits.items()
            },
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
    kept = KeptReplies(run / SCORES_FOLDER, scorer, progress)
    splits: dict[SplitName, QuestionSplit] = {}
    for name, conditions in ASKED.items():
        examples, asked = asked_of_split(study, name, questions, most)
        if not asked:
            continue
        scorer.cache.fill([example.cube for example in examples], progress=progress)
        splits[name] = _ask(name, examples, asked, conditions, kept)
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
) -> QuestionSplit:
    answers: dict[QuestionCondition, Sequence[Answered]] = {}
    scores: dict[QuestionCondition, ConditionScores] = {}
    session_of = {id(q): key for key, listed in by_session(questions).items() for q in listed}
    for condition in conditions:
        images = images_of(examples, condition)
        shown = [images[session_of[id(question)]] for question in questions]
        answers[condition] = kept.answers(name, questions, shown, condition)
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
    rows = []
    for name, split in splits.items():
        for at, question in enumerate(split.questions):
            row: dict[str, Any] = {
                "split": name,
                "id": question.id,
                "kind": question.kind,
                "answer": question.answer,
                "generated": split.answers["full"][at].generated,
            }
            row |= {c: int(np.rint(s.right[at])) for c, s in split.scores.items()}
            rows.append({key: _one_line(value) for key, value in row.items()})
    return pd.DataFrame(rows).to_csv(sep="\t", index=False)


def _one_line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value
