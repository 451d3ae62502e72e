"""Two-turn cases whose second turn cannot be answered without the first, in pairs.

Both cases of a pair have the same scan and the same second turn; the first turns differ, and so do
the answers. So a model that forgets the first turn gets at most half of them right. With yes and no
equally frequent after each first turn, so does one that does not look at the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, count, islice

import numpy as np

from medblip.errors import InputError
from medblip.vqa import dialogue_words as words
from medblip.vqa.classes import CLASSES
from medblip.vqa.dialogues import millimetres
from medblip.vqa.ground_truth import REGIONS, Scan
from medblip.vqa.normal_for_age import SIZES, Norms
from medblip.vqa.questions import Question, SessionImage, Turn
from medblip.vqa.templates import NO, YES

Source = Callable[[Scan, int], "_Pair"]  # a scan and the number of the round -> a pair
Sources = Sequence[tuple[Mapping[str, int], Source]]  # the classes of the scans, what to make


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two cases about one scan.

    Attributes:
        reply: what is said to either first turn.
        second: what is asked then.
        firsts: the first turns.
        answers: to the second turn, after each first turn.
    """

    scan: Scan
    reply: str
    second: str
    firsts: tuple[str, str]
    answers: tuple[str, str]


def make_two_turns(
    scans: Sequence[Scan], norms: Norms, cases: int = 100, seed: int = 0
) -> tuple[Question, ...]:
    """As many cases, two of a pair after each other; ``kind`` is ``two-turn-<family>``.

    A ``claim`` is right or wrong; a ``topic`` is there or not, or of two sides the one affected
    more; a ``measure`` is a region's displacement, whose answer names the region.

    Args:
        scans: of one split.
        norms: of the training scans.
        cases: an even number.

    Raises:
        InputError: the scans do not give as many.
    """
    rng = np.random.default_rng(seed)
    shuffled = [scans[n] for n in rng.permutation(len(scans))]
    claims, topics = _claims(_told_apart(scans, norms)), _topics(_told_apart(scans, norms))
    families = {
        "claim": _in_rounds(shuffled, norms, claims),
        "topic": _in_rounds(shuffled, norms, topics),
        "measure": _in_rounds(shuffled, norms, _measures()),
    }
    made: list[Question] = []
    for number, family in enumerate(_families(cases // 2, len(claims), len(topics))):
        pair = next(families[family], None)
        if pair is None:
            problem = f"{len(scans)} scans give {2 * number} cases of two turns, expected {cases}"
            raise InputError("scans", problem, "simulate more", code="too-few-scans")
        made += _questions(pair, family, number)
    return tuple(made)


def _told_apart(scans: Sequence[Scan], norms: Norms) -> frozenset[str]:
    """The kinds of claims of which there are scans of either class."""
    return frozenset(
        kind for kind in words.CLAIMS if {0, 1} <= {CLASSES[kind](scan, norms) for scan in scans}
    )


def _families(pairs: int, claims_a_round: int, topics_a_round: int) -> list[str]:
    """About a third each; of claims and topics whole rounds, so that yes and no are as frequent."""
    claims = pairs // 3 // claims_a_round * claims_a_round if claims_a_round else 0
    topics = pairs // 3 // topics_a_round * topics_a_round if topics_a_round else 0
    return ["claim"] * claims + ["topic"] * topics + ["measure"] * (pairs - claims - topics)


def _questions(pair: _Pair, family: str, number: int) -> Iterator[Question]:
    closed = (YES, NO) if number % 2 else (NO, YES)
    for side, first, answer in zip("ab", pair.firsts, pair.answers, strict=True):
        yield Question(
            id=f"two-turn:{number + 1}{side}",
            image=SessionImage(pair.scan.participant_id, pair.scan.session_id),
            text=pair.second,
            kind=f"two-turn-{family}",
            answer=answer,
            choices=() if family == "measure" else closed,
            turns=(Turn(first, pair.reply),),
        )


def _in_rounds(scans: Sequence[Scan], norms: Norms, sources: Sources) -> Iterator[_Pair]:
    """One pair of each source, again and again; of a round, all are in the same words.

    A source is the classes that its scans must have, and what makes a pair of one.
    """
    queues = [(_of(scans, norms, wanted), make) for wanted, make in sources]
    for number in count():
        for queue, make in queues:
            scan = next(queue, None)
            if scan is None:
                return
            yield make(scan, number)


def _of(scans: Sequence[Scan], norms: Norms, wanted: Mapping[str, int]) -> Iterator[Scan]:
    """The scans of these classes."""
    return (s for s in scans if all(CLASSES[k](s, norms) == c for k, c in wanted.items()))


def _claims(kinds: Set[str]) -> Sources:
    """A claim and its opposite: one of them is right."""

    def source(kind: str, truth: int) -> Source:
        def make(scan: Scan, number: int) -> _Pair:
            denied, affirmed = (claim.format(age=round(scan.age)) for claim in words.CLAIMS[kind])
            return _Pair(
                scan,
                _turn_of(words.CLAIM_REPLIES, number),
                _turn_of(words.CLAIM_QUESTIONS, number // 2),
                (denied, affirmed),
                (NO, YES) if truth else (YES, NO),
            )

        return make

    known = [kind for kind in words.CLAIMS if kind in kinds]
    return [({kind: c}, source(kind, c)) for c in (0, 1) for kind in known]


def _topics(kinds: Set[str]) -> Sources:
    """Two topics of which one is there: a change or the skull; or else either side of a part."""
    if "skull" in kinds:
        pairs = {k: (t, words.TOPICS["skull"]) for k, t in words.TOPICS.items() if k != "skull"}
        return [
            ({kind: c, "skull": 1 - c}, _topic(pair, words.TOPIC_QUESTIONS, first=bool(c)))
            for c in (0, 1)
            for kind, pair in pairs.items()
        ]
    return [
        ({kind: c}, _topic(pair, words.SIDE_TOPIC_QUESTIONS, first=bool(c)))
        for c in (0, 1)
        for kind, pair in words.SIDE_TOPICS.items()
        if kind in kinds
    ]


def _topic(topics: tuple[str, str], questions: Sequence[str], *, first: bool) -> Source:
    """Asks the same about either topic, of which the first is there or the second."""

    def make(scan: Scan, number: int) -> _Pair:
        said = _turn_of(words.TOPIC_TURNS, number)
        return _Pair(
            scan,
            _turn_of(words.TOPIC_REPLIES, number),
            _turn_of(questions, number // 2),
            (said.format(topic=topics[0]), said.format(topic=topics[1])),
            (YES, NO) if first else (NO, YES),
        )

    return make


def _measures() -> Sources:
    """Two regions of a scan; small, medium and large displacements take turns."""
    both = tuple(combinations(REGIONS, 2))

    def make(scan: Scan, number: int) -> _Pair:
        said = _turn_of(words.MEASURE_TURNS, number)
        one, other = both[number % len(both)]
        return _Pair(
            scan,
            _turn_of(words.TOPIC_REPLIES, number),
            _turn_of(words.MEASURE_QUESTIONS, number // 2),
            (
                said.format(region=words.REGION_NAMES[one]),
                said.format(region=words.REGION_NAMES[other]),
            ),
            (_measured(scan, one), _measured(scan, other)),
        )

    return [({"ventricle-size": size}, make) for size in range(len(SIZES))]


def _measured(scan: Scan, region: str) -> str:
    mm = millimetres(scan.mean_mm[region], region)
    return words.MEASURE_ANSWERS[0].format(region=words.REGION_NAMES[region], mm=mm)


def _turn_of(options: Sequence[str], number: int) -> str:
    return options[number % len(options)]


def pairs_right(right: Sequence[bool]) -> float:
    """Share of pairs of which both cases are right; ``right`` is in the order of the cases."""
    first, second = islice(right, 0, None, 2), islice(right, 1, None, 2)
    both = [a and b for a, b in zip(first, second, strict=True)]
    return sum(both) / len(both) if both else float("nan")
