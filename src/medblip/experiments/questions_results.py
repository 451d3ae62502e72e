"""From the answers of finished runs to what is read: Table 3 in detail, Figures 3 and 4, claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medblip.errors import UsageError
from medblip.evaluation.vqa_evaluate import asked_of_split
from medblip.experiments.analyses.part import Part
from medblip.experiments.claim_verdicts import ClaimVerdict
from medblip.experiments.figure3 import figure_3
from medblip.experiments.figure4 import figure_4
from medblip.experiments.figure_cases import CaseMaker
from medblip.experiments.kept import Kept
from medblip.experiments.questions_claims import TABLE, question_claims
from medblip.experiments.questions_kept import QuestionAnswers, kept_answers
from medblip.experiments.questions_lines import RESAMPLES, AskedRuns, LineTable, present
from medblip.experiments.questions_part import question_part
from medblip.experiments.questions_scoring import MAIN, column_name, is_closed
from medblip.experiments.questions_study import asks_questions
from medblip.experiments.records import RunRecord, answers_by_table
from medblip.experiments.trials import Trial
from medblip.study.study import Study
from medblip.vqa.study_questions import study_questions

TABLE_3, FIGURE_3, FIGURE_4 = "table3", "figure3", "figure4"
WHAT = (TABLE_3, FIGURE_3, FIGURE_4)  # one training a seed serves all of them
NOTE = (
    "Closed questions that the scan can answer, by kind; what no scan can show is known from the "
    "question alone, so it has a line of its own and is in no mean. The likeliest choice counts, "
    "its log-probability summed over its tokens and averaged over all cyclic orders of the choices."
)
RULES = {
    MAIN: "Likelihood, mean over orders of the choices (the one to report)",
    "one_order": "Likelihood, choices in their first order alone",
    "length_normalised": "Likelihood a token, mean over orders",
    "strict": "Strict: the text written is the answer and nothing else",
    "lenient": "Lenient, M3D's rule: the answer's letter with a period is anywhere in the text; "
    "where no letter is, the answer's words are",
}


@dataclass(frozen=True)
class QuestionResults:
    """All that an experiment found with questions.

    Attributes:
        parts: sections of the page, those that were asked for.
        claims: of Table 3.
        asked: how many questions of how many subjects, in words.
    """

    parts: tuple[Part, ...]
    claims: tuple[ClaimVerdict, ...]
    asked: str


def question_results(
    study: Study,
    kept: Kept,
    trials: Sequence[Trial],
    wanted: Sequence[str],
    cubes: Path,
    *,
    n_resamples: int = RESAMPLES,
) -> QuestionResults | None:
    """What the finished ones of ``trials`` answered; None where none is finished.

    Args:
        wanted: of `WHAT`.
        cubes: folder of the volume cache, for the pictures.

    Raises:
        InputError: the study's questions, or what a run kept, cannot be read.
        UsageError: a run was asked other questions than the study has now.
    """
    finished = [t for t in trials if asks_questions(t) and kept.records(t) is not None]
    if not finished or not wanted:
        return None
    runs = sorted((kept_answers(t, kept.run(t)) for t in finished), key=lambda run: run.seed)
    most = finished[0].setting.most
    questions = asked_of_split(study, "test", study_questions(study), most)[1]
    _check(runs, [question.id for question in questions], kept.folder)
    asked = AskedRuns(tuple(questions), tuple(runs), n_resamples)
    maker = CaseMaker(asked, study, cubes)
    made = {
        TABLE_3: lambda: table_3_parts(asked),
        FIGURE_3: lambda: figure_3(asked, maker),
        FIGURE_4: lambda: figure_4(asked, maker),
    }
    parts = tuple(make() for name, make in made.items() if name in wanted)
    records = [record for trial in finished for record in kept.records(trial) or ()]
    claims = _claims(study, asked, records) if TABLE_3 in wanted else []
    return QuestionResults(parts, tuple(claims), _told(asked, most))


def table_3_parts(asked: AskedRuns) -> Part:
    """Table 3 by kind of question, and by rule of scoring."""
    questions = asked.questions
    closed = asked.rows(map(is_closed, questions))
    lines = [asked.line("All closed questions", MAIN, closed)]
    for kind in dict.fromkeys(q.kind for q in questions if q.choices):
        at = asked.rows(bool(q.choices) and q.kind == kind for q in questions)
        lines.append(asked.line(kind, MAIN, at))
    rules = (asked.line(title, score, closed, compared=False) for score, title in RULES.items())
    tables = [
        LineTable("By kind of question", present(lines)),
        LineTable("By rule of scoring", present(rules)),
    ]
    title = "Table 3 in detail: closed questions by kind and by rule"
    return question_part("table3-parts", title, NOTE, tables)


def _claims(study: Study, asked: AskedRuns, records: Sequence[RunRecord]) -> list[ClaimVerdict]:
    closed = [question for question in asked.questions if is_closed(question)]
    chance = np.array([1 / len(question.choices) for question in closed])
    given = answers_by_table(records).get(TABLE)
    return question_claims(given, column_name(study), chance)


def _check(runs: Sequence[QuestionAnswers], ids: Sequence[str], folder: Path) -> None:
    if any(list(run.ids) != list(ids) for run in runs):
        problem = "a run was asked other questions than the study has now"
        raise UsageError(str(folder), problem, "choose another --out", code="other-questions")


def _told(asked: AskedRuns, most: int | None) -> str:
    subjects = len(set(asked.subjects(range(len(asked.questions)))))
    said = f"{len(asked.questions):,} about {subjects:,} test subjects, a turn of a dialogue is one"
    return said if most is None else f"{said}; at most {most} of each kind"
