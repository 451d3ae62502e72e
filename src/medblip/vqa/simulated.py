"""Questions about simulated scans, answered from the simulator's ground truth.

Answers are equally frequent in each kind, split and wording. So a model that does not look at the
scan scores chance. What no scan can show is asked too; the right answer then is known from the
question alone, so that kind is reported apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medblip.study.splits import SPLITS, SplitName, Splits
from medblip.vqa.balance import Dealt, deal_equally, placed
from medblip.vqa.classes import CLASSES
from medblip.vqa.ground_truth import Scan
from medblip.vqa.normal_for_age import Norms, fit_norms
from medblip.vqa.questions import Question, SessionImage
from medblip.vqa.templates import CANNOT, UNANSWERABLE, UNANSWERABLE_KIND, WORDINGS


@dataclass(frozen=True)
class SimulatedQuestions:
    """What was made.

    Attributes:
        by_split: the questions of each split, by kind.
        norms: of the training scans; they define the answers.
    """

    by_split: Mapping[SplitName, tuple[Question, ...]]
    norms: Norms

    @property
    def all(self) -> tuple[Question, ...]:
        return tuple(q for split in SPLITS for q in self.by_split[split])


def make_questions(scans: Sequence[Scan], splits: Splits, seed: int = 0) -> SimulatedQuestions:
    """Ask about the scans of each split; the same arguments always give the same questions.

    Args:
        scans: of `medblip.vqa.ground_truth.read_scans`.
        splits: of the study made of them; scans of subjects in no split are left out.

    Raises:
        InputError: too few training scans are of cognitively normal people.
    """
    parts = scans_by_split(scans, splits)
    norms = fit_norms(parts["train"])
    made: dict[SplitName, tuple[Question, ...]] = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng((seed, number))
        known = [q for kind in CLASSES for q in _ask(kind, parts[split], norms, rng)]
        asked = len({q.kind for q in known})
        fair = round(len(known) / asked) if asked else 0
        made[split] = (*known, *_ask_in_vain(parts[split], fair, rng))
    return SimulatedQuestions(made, norms)


def scans_by_split(scans: Sequence[Scan], splits: Splits) -> dict[SplitName, list[Scan]]:
    """The scans of each split, by subject and session, whatever order they came in."""
    split_of = splits.split_of()
    parts: dict[SplitName, list[Scan]] = {split: [] for split in SPLITS}
    for scan in sorted(scans, key=lambda scan: (scan.participant_id, scan.session_id)):
        if scan.participant_id in split_of:
            parts[split_of[scan.participant_id]].append(scan)
    return parts


def _ask(
    kind: str, scans: Sequence[Scan], norms: Norms, rng: np.random.Generator
) -> Iterator[Question]:
    wordings = WORDINGS[kind]
    says_age = any("{age}" in wording.text for wording in wordings)
    cases: dict[int, list[tuple[Hashable, Scan]]] = defaultdict(list)
    cases.update({group: [] for group in range(len(wordings[0].answers))})
    for scan in scans:
        group = CLASSES[kind](scan, norms)
        if group is not None:
            cases[group].append((norms.age_band(scan) if says_age else 0, scan))
    if not all(cases.values()):
        return  # an answer that is never right would leave none of the others
    for dealt in deal_equally(cases, len(wordings), len(cases), rng):
        yield _question(kind, dealt, rng)


def _question(kind: str, dealt: Dealt[Scan], rng: np.random.Generator) -> Question:
    scan, wording = dealt.case, WORDINGS[kind][dealt.wording]
    answer = wording.answers[dealt.group]
    return Question(
        id=f"{kind}:{scan.participant_id}:{scan.session_id}",
        image=SessionImage(scan.participant_id, scan.session_id),
        text=wording.text.format(age=round(scan.age)),
        kind=kind,
        answer=answer,
        choices=placed(answer, wording.answers, dealt.position, rng),
    )


def _ask_in_vain(scans: Sequence[Scan], count: int, rng: np.random.Generator) -> Iterator[Question]:
    """What the scan cannot show, about ``count`` scans."""
    for number, at in enumerate(rng.permutation(len(scans))[:count].tolist()):
        text, likely = UNANSWERABLE[number % len(UNANSWERABLE)]
        choices = [likely[n] for n in rng.permutation(len(likely))]
        choices.insert(number // len(UNANSWERABLE) % (len(likely) + 1), CANNOT)
        scan = scans[at]
        yield Question(
            id=f"{UNANSWERABLE_KIND}:{scan.participant_id}:{scan.session_id}",
            image=SessionImage(scan.participant_id, scan.session_id),
            text=text,
            kind=UNANSWERABLE_KIND,
            answer=CANNOT,
            choices=tuple(choices),
            answerable=False,
        )
