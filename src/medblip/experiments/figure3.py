"""Figure 3: open answers about scans, scored by what they state, with real ones beside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from medblip.evaluation.intervals import Interval
from medblip.experiments.analyses.part import Part
from medblip.experiments.figure_cases import RULE, CaseMaker
from medblip.experiments.questions_kept import FULL, TITLES
from medblip.experiments.questions_lines import AskedRuns, Line, LineTable, present
from medblip.experiments.questions_part import question_part
from medblip.vqa.questions import SessionImage

TITLE = "Figure 3: open answers"
NOTE = (
    "An answer is exact where it states the same regions, sides, terms and numbers as the true one "
    "and no other; F1 is over these. Each turn of a dialogue is one question, with the true turns "
    "before it in the prompt. BLEU, ROUGE and METEOR reward words, not truth."
)
CASES = 3  # right ones, and others
TEXT_METRICS = {
    "bleu": "BLEU-4",
    "bleu1": "BLEU-1",
    "rouge1": "ROUGE-1",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR (words and stems)",
}


def figure_3(asked: AskedRuns, maker: CaseMaker) -> Part:
    """Scores of the open questions, and examples of them."""
    questions = asked.questions
    open_ones = asked.rows(not q.choices for q in questions)
    answerable = [n for n in open_ones if questions[n].answerable]
    tables = [
        LineTable("What is stated", _stated(asked, answerable)),
        LineTable("Answering and refusing", _refusing(asked, open_ones)),
        LineTable("Exact, by kind", _by_kind(asked, answerable)),
        LineTable("Words, mean over runs", _words(asked, answerable)),
    ]
    about_sessions = [n for n in open_ones if isinstance(questions[n].image, SessionImage)]
    cases = maker.cases("Open question", ([n] for n in about_sessions), CASES, unroll=False)
    return question_part("figure3", TITLE, NOTE, tables, cases, RULE.format(each=CASES))


def _stated(asked: AskedRuns, answerable: list[int]) -> tuple[Line, ...]:
    return present(
        [
            asked.line("Exact: the same facts", "exact", answerable),
            asked.line("F1 over facts", "f1", answerable),
        ]
    )


def _by_kind(asked: AskedRuns, answerable: list[int]) -> tuple[Line, ...]:
    kinds: dict[str, list[int]] = defaultdict(list)
    for row in answerable:
        kinds[asked.questions[row].kind].append(row)
    return present(asked.line(kind, "exact", at) for kind, at in kinds.items())


def _refusing(asked: AskedRuns, open_ones: list[int]) -> tuple[Line, ...]:
    vain = [n for n in open_ones if not asked.questions[n].answerable]
    known = [n for n in open_ones if asked.questions[n].answerable]
    lines = []
    if vain:
        subjects = asked.subjects(vain)
        answered = {name: 1 - refused for name, refused in asked.values("refused", vain).items()}
        title = "Hallucinated: answered what the scan cannot show"
        lines.append(asked.line_of(title, answered, subjects, compared=False))
    title = "Refused what the scan can show"
    return present([*lines, asked.line(title, "refused", known, compared=False)])


def _words(asked: AskedRuns, answerable: list[int]) -> tuple[Line, ...]:
    """Of the whole corpus, so without intervals; nothing where the libraries were missing."""
    subjects = len(set(asked.subjects(answerable)))
    found = {name: _corpus_metrics(asked, name) for name in TITLES}
    return tuple(
        Line(title, len(answerable), subjects, None, means)
        for metric, title in TEXT_METRICS.items()
        for means in [{name: m[metric] for name, m in found.items() if metric in m}]
        if FULL in means
    )


def _corpus_metrics(asked: AskedRuns, name: str) -> Mapping[str, Interval]:
    shown = [run.shown.get(name) for run in asked.runs]
    told = [one.text_metrics for one in shown if one and one.text_metrics]
    if len(told) < len(asked.runs):
        return {}
    return {
        metric: Interval(float(np.mean([metrics[metric] for metrics in told])), np.nan, np.nan)
        for metric in TEXT_METRICS
    }
