"""Two-turn cases from their making to their pairs: each case is asked whole, and is half a pair."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medblip.evaluation.vqa_evaluate import asked_of_split
from medblip.evaluation.vqa_shown import pair_of
from medblip.experiments.figure4 import _pairs
from medblip.experiments.questions_kept import FULL, QuestionAnswers, ShownScores
from medblip.experiments.questions_lines import AskedRuns
from medblip.training.asked import asked_items
from medblip.vqa.dialogue_words import TOPIC_REPLIES
from medblip.vqa.dialogues import KIND, make_dialogues
from medblip.vqa.normal_for_age import fit_norms
from medblip.vqa.questions import Question
from medblip.vqa.two_turns import make_two_turns
from vqa.vqa_maker import make_scans, study_of

CASES = 36


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Question], list[Question]]:
    """What is asked about test subjects, and what is learnt of the same ones."""
    scans = make_scans(600)
    study = study_of(tmp_path_factory.mktemp("study"), scans)
    norms = fit_norms(scans)
    test = {e.participant_id for e in study.examples("test")}
    about = [scan for scan in scans if scan.participant_id in test]
    cases = make_two_turns(about, norms, CASES)
    questions = [*cases, *make_dialogues(about, norms)]
    asked = asked_of_split(study, "test", questions, None)[1]
    items = asked_items(study.examples("test"), questions, diagnosis=False)
    return asked, [item.question for item in items if item.question]


def test_open_cases_are_asked_whole(made: tuple[list[Question], list[Question]]) -> None:
    for questions in made:
        cases = [q for q in questions if q.kind.startswith("two-turn-")]
        assert len(cases) == CASES
        assert any(q.kind == "two-turn-measure" and not q.choices for q in cases)
        assert all(len(q.turns) == 1 for q in cases)
        assert not {q.answer for q in questions} & set(TOPIC_REPLIES), "stock replies are no answer"
    assert any(q.kind == KIND and q.id.endswith(":2") for q in made[0]), "dialogues by turn"


def test_the_two_cases_of_one_scan_and_question_are_a_pair(
    made: tuple[list[Question], list[Question]],
) -> None:
    asked = made[0]
    values = np.array([float(q.id.endswith("a")) for q in asked])
    run = QuestionAnswers(0, tuple(q.id for q in asked), {FULL: ShownScores({"right": values})})
    pairs = _pairs(AskedRuns(tuple(asked), (run,)))
    assert len(pairs) == CASES // 2
    families = Counter(asked[rows[0]].kind for rows in pairs.values())
    assert families["two-turn-measure"] > 0
    for rows in pairs.values():
        one, other = (asked[row] for row in rows)
        assert (one.text, one.image, one.kind) == (other.text, other.image, other.kind)
        assert one.turns != other.turns
        assert pair_of(one) == pair_of(other) and {one.id[-1], other.id[-1]} == {"a", "b"}
