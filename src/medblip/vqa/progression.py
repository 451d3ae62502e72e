"""Questions that compare two simulated scans of a subject, answered from the ground truth.

Answers are equally frequent in each kind, split and wording, and in each third of what the region
has lost by the current scan. So neither the text nor the current scan alone tells the answer. The
previous scan alone tells a little of it, since who lost much had more to lose: a model compares
only as far as it is better than with that scan alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medblip.errors import InputError
from medblip.study.splits import SPLITS, SplitName
from medblip.study.study import Study
from medblip.vqa.balance import Dealt, deal_equally, placed
from medblip.vqa.normal_for_age import class_of
from medblip.vqa.priors import visits_of
from medblip.vqa.questions import Question, SessionImage
from medblip.vqa.templates import NO, YES, Wording
from medblip.vqa.truth_tables import TRUTH_FOLDER, Row, state_key, states_of

REGIONS = ("ventricles", "medial_temporal")
# Mean displacement in mm of a region's tissue since the previous scan.
CHANGED_MM, CLEARLY_MM = 0.3, 1.5
MARGIN_MM = 0.1  # so near a cut point, a pair is not asked about
LARGER = ("unchanged", "slightly larger", "clearly larger")
MORE = ("unchanged", "slightly more", "clearly more")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two scans of a subject.

    Attributes:
        current, prior: the sessions.
        lost_mm: by region, mean displacement in mm at the current scan, as of
            `medblip.vqa.ground_truth.Scan`.
        gained_mm: by region, how much of it came since the previous scan.
    """

    current: SessionImage
    prior: SessionImage
    lost_mm: Mapping[str, float]
    gained_mm: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ComparingKind:
    """One kind of question.

    Attributes:
        region: that it is about.
        cuts: between the classes, mm gained.
        wordings: with the answer of each class.
    """

    region: str
    cuts: tuple[float, ...]
    wordings: tuple[Wording, ...]


KINDS: Mapping[str, ComparingKind] = {
    "ventricles-grown": ComparingKind(
        "ventricles",
        (CHANGED_MM,),
        (
            Wording("Have the ventricles grown since the previous scan?", (NO, YES)),
            Wording("Do the ventricles have the size of the previous scan?", (YES, NO)),
        ),
    ),
    "ventricles-change": ComparingKind(
        "ventricles",
        (CHANGED_MM, CLEARLY_MM),
        (
            Wording("How has the size of the ventricles changed since the previous scan?", LARGER),
            Wording("Compared with the previous scan, how large are the ventricles?", LARGER),
        ),
    ),
    "medial-temporal-progressed": ComparingKind(
        "medial_temporal",
        (CHANGED_MM,),
        (
            Wording("Has the medial temporal atrophy progressed since the previous scan?",
                    (NO, YES)),
            Wording("Are the medial temporal lobes as they were on the previous scan?", (YES, NO)),
        ),
    ),
    "medial-temporal-change": ComparingKind(
        "medial_temporal",
        (CHANGED_MM, CLEARLY_MM),
        (
            Wording("How has the medial temporal atrophy changed since the previous scan?", MORE),
            Wording("Compared with the previous scan, how strong is the medial temporal atrophy?",
                    MORE),
        ),
    ),
}  # fmt: skip


def read_pairs(study: Study, simulated: Path | None = None) -> tuple[Pair, ...]:
    """The labelled sessions of a study whose truth compares them with an earlier one.

    Args:
        study: prepared from simulated data.
        simulated: the folder that ``medblip simulate`` wrote, where it was moved.

    Raises:
        InputError: a row of the truth holds no number.
    """
    states, visits = states_of(study, simulated), visits_of(study)
    pairs = []
    for row in study.labelled_images().to_dict("records"):
        current = SessionImage(row["participant_id"], row["session_id"])
        state = states.get(state_key(current.participant_id, current.session_id), {})
        prior = SessionImage(current.participant_id, state.get("prior_session_id", ""))
        if prior in visits and visits[prior].cube:
            pairs.append(_pair(current, prior, state))
    return tuple(sorted(pairs, key=lambda p: (p.current.participant_id, p.current.session_id)))


def _pair(current: SessionImage, prior: SessionImage, state: Row) -> Pair:
    try:
        lost, gained = (
            {region: float(state[f"{region}_{what}_mm"]) for region in REGIONS}
            for what in ("mean", "gained")
        )
    except (KeyError, ValueError) as error:
        place = f"{TRUTH_FOLDER}, {current.participant_id} {current.session_id}"
        problem = f"a column is missing or holds no number: {error}"
        raise InputError(place, problem, "simulate again", code="bad-ground-truth") from error
    return Pair(current, prior, lost, gained)


def make_comparisons(
    pairs: Sequence[Pair], split_of: Mapping[str, SplitName], seed: int = 0
) -> dict[SplitName, list[Question]]:
    """Ask about the pairs of each split; the same arguments always give the same questions.

    Args:
        pairs: of `read_pairs`.
        split_of: of each subject; pairs of subjects in no split are left out.
    """
    parts: dict[SplitName, list[Pair]] = {split: [] for split in SPLITS}
    for pair in pairs:
        if pair.current.participant_id in split_of:
            parts[split_of[pair.current.participant_id]].append(pair)
    made: dict[SplitName, list[Question]] = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng((seed, number, len(KINDS)))
        made[split] = [q for kind in KINDS for q in _ask(kind, parts[split], rng)]
    return made


def _ask(kind: str, pairs: Sequence[Pair], rng: np.random.Generator) -> Iterator[Question]:
    asked = KINDS[kind]
    thirds = _thirds([pair.lost_mm[asked.region] for pair in pairs])
    cases: dict[int, list[tuple[Hashable, Pair]]] = defaultdict(list)
    cases.update({group: [] for group in range(len(asked.cuts) + 1)})
    for pair, third in zip(pairs, thirds, strict=True):
        group = class_of(pair.gained_mm[asked.region], asked.cuts, MARGIN_MM)
        if group is not None:
            cases[group].append((third, pair))
    for dealt in deal_equally(cases, len(asked.wordings), len(cases), rng):
        yield _question(kind, dealt, rng)


def _thirds(values: Sequence[float]) -> list[int]:
    if not values:
        return []
    cuts = np.quantile(values, (1 / 3, 2 / 3))
    return [int(third) for third in np.searchsorted(cuts, values)]


def _question(kind: str, dealt: Dealt[Pair], rng: np.random.Generator) -> Question:
    pair, wording = dealt.case, KINDS[kind].wordings[dealt.wording]
    answer = wording.answers[dealt.group]
    return Question(
        id=f"{kind}:{pair.current.participant_id}:{pair.current.session_id}",
        image=pair.current,
        text=wording.text,
        kind=kind,
        answer=answer,
        choices=placed(answer, wording.answers, dealt.position, rng),
        prior=pair.prior,
    )
