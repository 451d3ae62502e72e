"""Questions about change: right by the truth; text and current scan alone have nothing to tell."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.ensemble import HistGradientBoostingClassifier

from medblip.errors import InputError, UsageError
from medblip.simulate.cohort import draw_cohort
from medblip.simulate.progression import progression_cohort
from medblip.simulate.scanner import session_mm
from medblip.study.splits import SPLITS, SplitName
from medblip.study.study import Study
from medblip.vqa.blind import blind_scores, template
from medblip.vqa.progression import (
    CHANGED_MM,
    CLEARLY_MM,
    KINDS,
    Pair,
    make_comparisons,
    read_pairs,
)
from medblip.vqa.questions import Question, SessionImage
from medblip.vqa.study_file import write_study_questions
from medblip.vqa.study_questions import study_questions
from study.study_maker import make_sessions, write_study

SHARE = {"ventricles": 0.566, "medial_temporal": 0.642}  # mean of largest displacement
ORDER: tuple[SplitName, ...] = ("train", "train", "train", "validation", "test", "test")


def drawn_pairs(subjects: int) -> list[Pair]:
    """As the simulator draws them, without any image."""
    pairs = []
    for subject in draw_cohort(progression_cohort(subjects), 0):
        later, name = subject.sessions[1], f"SIM-L-{subject.participant_id}"
        lost, gained = (
            {region: mm[region] * share for region, share in SHARE.items()}
            for mm in (session_mm(later), later.gained_mm)
        )
        prior = SessionImage(name, later.prior_session_id)
        pairs.append(Pair(SessionImage(name, later.session_id), prior, lost, gained))
    return pairs


PAIRS = drawn_pairs(3000)
SPLIT_OF = {p.current.participant_id: ORDER[n // 3 % 6] for n, p in enumerate(PAIRS)}
PAIR_OF = {pair.current: pair for pair in PAIRS}


@pytest.fixture(scope="module")
def made() -> dict[SplitName, list[Question]]:
    return make_comparisons(PAIRS, SPLIT_OF)


def third(question: Question, split: str) -> int:
    """Of the pairs of its split, by the region's loss at the current scan."""
    region = KINDS[question.kind].region
    listed = [p.lost_mm[region] for p in PAIRS if SPLIT_OF[p.current.participant_id] == split]
    own = PAIR_OF[question.image].lost_mm[region]  # type: ignore[index]
    return int(np.searchsorted(np.quantile(listed, (1 / 3, 2 / 3)), own))


def test_the_same_seed_gives_the_same_questions(made: dict[SplitName, list[Question]]) -> None:
    assert make_comparisons(PAIRS, SPLIT_OF) == made
    assert make_comparisons(PAIRS, SPLIT_OF, seed=1) != made
    some = {name: split for name, split in SPLIT_OF.items() if split != "test"}
    assert make_comparisons(PAIRS, some)["test"] == []
    assert make_comparisons([], {}) == {split: [] for split in SPLITS}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_answers_are_equally_frequent(made: dict[SplitName, list[Question]], split: str) -> None:
    """In each kind, wording, place among the choices and third of the current loss."""
    tables: dict[str, Counter[str]] = defaultdict(Counter)
    for question in made[split]:  # type: ignore[index]
        seen = [question.kind, template(question), f"{question.kind} {question.answer_index}"]
        # Two wordings may say the same class the other way round.
        wordings = {w.text: w for w in KINDS[question.kind].wordings}
        group = wordings[question.text].answers.index(question.answer)
        tables[f"{question.kind} third {third(question, split)}"][str(group)] += 1
        for key in seen:
            tables[key][question.answer] += 1
    assert {q.kind for q in made[split]} == set(KINDS)  # type: ignore[index]
    for key, counts in tables.items():
        assert len(counts) > 1
        slack = 8 if "third" in key else 0  # what is cut to whole blocks is cut from any third
        assert max(counts.values()) - min(counts.values()) <= slack, (key, counts)


def test_answers_are_those_of_the_truth(made: dict[SplitName, list[Question]]) -> None:
    said = {"no": 0, "yes": 1, "unchanged": 0, "slightly": 1, "clearly": 2}
    for question in (q for listed in made.values() for q in listed):
        pair = PAIR_OF[question.image]  # type: ignore[index]
        assert question.prior == pair.prior
        mm = pair.gained_mm[KINDS[question.kind].region]
        word = said[question.answer.split()[0]]
        if len(question.choices) == 3:
            assert word == (mm > CHANGED_MM) + (mm > CLEARLY_MM)
        else:
            reversed_ = question.text.startswith(("Do ", "Are "))
            assert (word == 1) == ((mm > CHANGED_MM) != reversed_)


def test_the_text_alone_scores_chance(made: dict[SplitName, list[Question]]) -> None:
    for kind, listed in blind_scores(made["train"], made["test"]).items():
        for score in listed:
            assert score.at_chance, (kind, score)


def features(questions: Sequence[Question], what: str) -> np.ndarray:
    """What a perfect reader of the current scan, the previous one, or both would see, in mm."""
    rows = []
    for question in questions:
        pair = PAIR_OF[question.image]  # type: ignore[index]
        now = [pair.lost_mm[region] for region in SHARE]
        before = [pair.lost_mm[region] - pair.gained_mm[region] for region in SHARE]
        rows.append({"current": now, "previous": before, "both": now + before}[what])
    return np.array(rows)


def classes(questions: Sequence[Question]) -> list[int]:
    wordings = {w.text: w for kind in KINDS.values() for w in kind.wordings}
    return [wordings[q.text].answers.index(q.answer) for q in questions]


@pytest.mark.parametrize("kind", KINDS)
def test_the_current_scan_alone_scores_chance(
    made: dict[SplitName, list[Question]], kind: str
) -> None:
    """Read without any error, and learned from without any limit; both scans are enough."""
    train, test = ([q for q in made[split] if q.kind == kind] for split in ("train", "test"))  # type: ignore[index]
    right = {}
    for what in ("current", "previous", "both"):
        model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=0)
        model.fit(features(train, what), classes(train))
        right[what] = int((model.predict(features(test, what)) == classes(test)).sum())
    chance = 1 / len(test[0].choices)
    low, high = binom.interval(0.99, len(test), chance)
    assert low <= right["current"] <= high
    assert right["both"] > 0.9 * len(test)
    # The limit that the page tells of: the previous scan alone is above chance, and far from both.
    assert high < right["previous"] < 0.75 * right["both"]


def write_truth(folder: Path, sessions: Sequence[tuple[str, str]]) -> None:
    """The truth of two sessions a subject: the first grows by nothing, the second by much, ..."""
    rows = []
    for number, (subject, session) in enumerate(sessions):
        row = {
            "participant_id": f"sub-{subject.removeprefix('SIM-L-')}",
            "session_id": session,
            "diagnosis": ("CN", "MCI", "AD")[number // 2 % 3],
            **{f"{r}_mean_mm": f"{number % 7}" for r in (*SHARE, "cortex")},
        }
        if session == "ses-2":
            gained = {f"{r}_gained_mm": ("0.0", "2.0", "0.9")[number // 2 % 3] for r in SHARE}
            row |= {**gained, "prior_session_id": "ses-1"}
        rows.append(row)
    (folder / "ground_truth").mkdir(parents=True)
    with (folder / "ground_truth" / "SIM-L.tsv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[1]), delimiter="\t", restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    sessions = make_sessions(120, "SIM-L", visits=2)
    keys = list(zip(sessions["participant_id"], sessions["session_id"], strict=True))
    write_truth(tmp_path / "simulated", keys)
    return Study.load(write_study(tmp_path / "study", sessions))


def test_pairs_are_read_from_the_truth_and_asked_about(study: Study, tmp_path: Path) -> None:
    pairs = read_pairs(study, tmp_path / "simulated")
    assert len(pairs) == 120
    assert {(p.prior.session_id, p.current.session_id) for p in pairs} == {("ses-1", "ses-2")}
    assert sorted({p.gained_mm["ventricles"] for p in pairs}) == [0.0, 0.9, 2.0]
    done = write_study_questions(tmp_path / "simulated", study, two_turns=0, only=list(KINDS))
    questions = study_questions(study)
    assert {q.kind for q in questions} == set(KINDS) and all(q.prior for q in questions)
    assert sum(done.counts["train"].values()) > 50
    whole = write_study_questions(tmp_path / "simulated", study, two_turns=0)
    assert set(KINDS) < set(whole.counts["train"])
    with pytest.raises(UsageError, match="ventricles-grown"):
        write_study_questions(tmp_path / "simulated", study, only=["ventricle-grown"])


def test_a_study_whose_truth_compares_nothing_is_asked_what_it_was(
    study: Study, tmp_path: Path
) -> None:
    table = tmp_path / "simulated" / "ground_truth" / "SIM-L.tsv"
    lines = [line.rsplit("\t", 3)[0] for line in table.read_text("utf-8").splitlines()]
    broken = table.read_text("utf-8").replace("2.0", "much")
    table.write_text(broken, "utf-8")
    with pytest.raises(InputError) as caught:
        read_pairs(study, tmp_path / "simulated")
    assert caught.value.code == "bad-ground-truth"
    table.write_text("\n".join(lines) + "\n", "utf-8")
    assert read_pairs(study, tmp_path / "simulated") == ()
    done = write_study_questions(tmp_path / "simulated", study, two_turns=0)
    assert not set(KINDS) & set(done.counts["train"])


def test_a_fair_set_would_be_found_unfair(made: dict[SplitName, list[Question]]) -> None:
    """What the test of the current scan would say if change followed the level."""
    told = [replace(p, gained_mm={r: max(0.0, mm - 3) for r, mm in p.lost_mm.items()})
            for p in PAIRS]  # fmt: skip
    questions = make_comparisons(told, SPLIT_OF)
    # Each third holds one class alone, so nothing fair is left to ask there.
    assert len(questions["test"]) < 0.3 * len(made["test"])
