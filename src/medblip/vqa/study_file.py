"""``questions.jsonl`` of a simulated study: closed questions, dialogues and two-turn cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medblip.errors import InputError, UsageError
from medblip.study.splits import SplitName
from medblip.study.study import Study
from medblip.study.tables import nearest
from medblip.vqa.dialogues import make_dialogues
from medblip.vqa.ground_truth import Scan, read_scans
from medblip.vqa.normal_for_age import Norms
from medblip.vqa.progression import make_comparisons, read_pairs
from medblip.vqa.question_file import QUESTIONS_FILE, write_questions
from medblip.vqa.questions import Question
from medblip.vqa.simulated import make_questions, scans_by_split
from medblip.vqa.two_turns import make_two_turns

TOLD: tuple[SplitName, ...] = ("train", "test")  # splits that dialogues are made of


@dataclass(frozen=True)
class WrittenQuestions:
    """What was written, and how much of it.

    Attributes:
        path: of the file.
        counts: questions by split and kind.
        two_turns_wanted: cases of the test split that were asked for.
    """

    path: Path
    counts: Mapping[SplitName, Mapping[str, int]]
    two_turns_wanted: int

    @property
    def two_turns(self) -> int:
        """Two-turn cases of the test split that there are."""
        kinds = self.counts.get("test", {}).items()
        return sum(count for kind, count in kinds if kind.startswith("two-turn-"))


def write_study_questions(
    simulated: Path | None,
    study: Study,
    *,
    two_turns: int = 100,
    seed: int = 0,
    only: Sequence[str] = (),
) -> WrittenQuestions:
    """Ask about the simulated scans of a study, and write its ``questions.jsonl``.

    Closed questions of every split; one dialogue about each scan of the training and the test
    split; two-turn cases of both, in training one for each scan. Where the truth compares the two
    scans of a subject, questions about the change (`medblip.vqa.progression`) of every split.

    Args:
        simulated: the folder that ``medblip simulate`` wrote and the study was prepared from;
            None where it still lies where ``study.json`` says.
        two_turns: cases of the test split; 0 makes none of either split. Where the scans give
            fewer, fewer are made.
        only: kinds to write; all if there are none.

    Raises:
        UsageError: nothing of such a kind was made.
        InputError: there is no ground truth of the study's sessions, or too few of them are of
            cognitively normal people to say what is normal for an age.
    """
    scans = read_scans(study, simulated)
    made = make_questions(scans, study.splits, seed)
    by_split = {split: list(listed) for split, listed in made.by_split.items()}
    parts = scans_by_split(scans, study.splits)
    for split in TOLD:
        by_split[split] += make_dialogues(parts[split], made.norms, seed)
        wanted = two_turns if split == "test" else len(parts[split]) * bool(two_turns)
        cases = most_two_turns(parts[split], made.norms, wanted, seed)
        by_split[split] += [replace(case, id=f"{split}:{case.id}") for case in cases]
    compared = make_comparisons(read_pairs(study, simulated), study.splits.split_of(), seed)
    by_split = {split: listed + compared[split] for split, listed in by_split.items()}
    if only:
        by_split = _of_kinds(by_split, only)
    path = study.folder / QUESTIONS_FILE
    write_questions(path, (q for listed in by_split.values() for q in listed))
    return WrittenQuestions(path, {s: _kinds(q) for s, q in by_split.items()}, two_turns)


def _of_kinds(
    by_split: Mapping[SplitName, Sequence[Question]], only: Sequence[str]
) -> dict[SplitName, list[Question]]:
    made = {question.kind for listed in by_split.values() for question in listed}
    for kind in only:
        if kind not in made:
            fix = nearest(kind, made) or f"expected some of {', '.join(sorted(made))}"
            raise UsageError("kinds", f"no {kind!r} was made", fix, code="unknown-choice")
    return {split: [q for q in listed if q.kind in only] for split, listed in by_split.items()}


def most_two_turns(
    scans: Sequence[Scan], norms: Norms, cases: int, seed: int = 0
) -> Sequence[Question]:
    """So many two-turn cases, or the largest of its halves that the scans give."""
    for wanted in _halves(cases):
        try:
            return make_two_turns(scans, norms, wanted, seed)
        except InputError as error:
            if error.code != "too-few-scans":
                raise
    return ()


def _halves(cases: int) -> Iterator[int]:
    """Even numbers, each about half of the one before."""
    while cases >= 2:
        yield cases - cases % 2
        cases //= 2


def _kinds(questions: Iterable[Question]) -> dict[str, int]:
    return dict(Counter(question.kind for question in questions))
