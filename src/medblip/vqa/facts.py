"""What an answer states: regions, sides, grades, comparisons and measured numbers.

Two answers agree if they state the same, whatever their words. A number belongs to the region and
side named last before it, so figures of two regions that were swapped do not agree.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Each name with the words for it; longer words win.
REGIONS = {
    "ventricles": ("ventricles", "ventricle", "ventricular"),
    "medial temporal": ("medial temporal", "mesial temporal", "hippocampus", "hippocampal",
                        "hippocampi"),
    "cortex": ("cortex", "cortical"),
}  # fmt: skip
SIDES = {"left": ("left",), "right": ("right",), "both": ("both sides", "bilateral", "bilaterally")}
TERMS = {
    "larger": ("larger", "enlarged", "more affected"),
    "smaller": ("smaller", "less affected"),
    "as expected": ("as expected", "within what is expected"),
    "none": ("no atrophy", "no loss"),
    "mild": ("mild",),
    "moderate": ("moderate",),
    "severe": ("severe", "marked"),
    "small": ("small",),
    "medium": ("medium",),
    "large": ("large",),
    "thinned": ("thinned", "thin", "thinning"),
    "preserved": ("preserved",),
    "more on the left": ("more on the left",),
    "more on the right": ("more on the right",),
    "same on both sides": ("about the same on both sides",),
    "yes": ("yes",),
    "no": ("no",),
}
UNITS = {
    "mm": ("mm", "millimetre", "millimetres", "millimeter", "millimeters"),
    "years": ("years", "year"),
    "sd": ("standard deviations", "standard deviation", "sd"),
    "%": ("%", "percent", "per cent"),
    "points": ("points", "point"),
}
TOLERANCE = {"mm": 0.5, "mm cortex": 0.1, "years": 1.0, "sd": 0.5, "%": 5.0, "points": 1.0}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing stated.

    Attributes:
        kind: ``region``, ``term`` or a unit of `UNITS`.
        region, side: what it is about; empty where none was named before.
        value: the term or the region's name; empty for a number.
        number: the number, for a unit.
    """

    kind: str
    region: str
    side: str
    value: str = ""
    number: float = 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """An answer against the true one.

    Attributes:
        right: true facts that are stated.
        missing: true facts that are not.
        wrong: stated facts that are not true.
    """

    right: int
    missing: int
    wrong: int

    @property
    def exact(self) -> bool:
        """Whether the answer states all that is true, at least one fact, and nothing else."""
        return self.right > 0 and self.missing == self.wrong == 0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall over facts; NaN where nothing is stated."""
        total = 2 * self.right + self.missing + self.wrong
        return 2 * self.right / total if total else float("nan")


def facts_of(text: str) -> list[Fact]:
    """The facts that a text states, in its order."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("\u2212", "-")
    facts: list[Fact] = []
    region = side = ""
    for match in _PATTERN.finditer(plain):
        word = match["word"]
        if word is None:
            facts.append(Fact(_UNIT_OF[match["unit"]], region, side, number=float(match["number"])))
        elif word in _REGION_OF:
            region = _REGION_OF[word]
            facts.append(Fact("region", region, side, region))
        elif word in _SIDE_OF:
            side = _SIDE_OF[word]
        else:
            facts.append(Fact("term", "", "", _TERM_OF[word]))
    return facts


def agreement(answer: str, truth: str, tolerance: Mapping[str, float] = TOLERANCE) -> Agreement:
    """Compare what an answer states with what the true answer states.

    Args:
        tolerance: by unit, or by unit and region as in ``mm cortex``, how far a number may be
            off, in that unit.
    """
    said, true = facts_of(answer), facts_of(truth)
    right = _common_names(said, true)
    for key in {(f.kind, f.region, f.side) for f in true if not f.value}:
        right += _common_numbers(
            [f.number for f in said if not f.value and (f.kind, f.region, f.side) == key],
            [f.number for f in true if not f.value and (f.kind, f.region, f.side) == key],
            tolerance_of(key[0], key[1], tolerance),
        )
    total_said, total_true = _distinct(said), _distinct(true)
    return Agreement(right, total_true - right, total_said - right)


def tolerance_of(unit: str, region: str, tolerance: Mapping[str, float] = TOLERANCE) -> float:
    """How far a number about a region may be off, in its unit; see `agreement`."""
    return tolerance.get(f"{unit} {region}", tolerance[unit])


def _common_names(said: Sequence[Fact], true: Sequence[Fact]) -> int:
    return len({f for f in said if f.value} & {f for f in true if f.value})


def _distinct(facts: Sequence[Fact]) -> int:
    """Numbers count each time, names once: a name is repeated to say more about it."""
    return len({f for f in facts if f.value}) + sum(not f.value for f in facts)


def _common_numbers(said: Sequence[float], true: Sequence[float], tolerance: float) -> int:
    """Largest number of pairs that are near each other; in order of size, none is lost."""
    left, wanted, count = sorted(said), sorted(true), 0
    at = 0
    for number in wanted:
        while at < len(left) and left[at] < number - tolerance - 1e-9:
            at += 1
        if at < len(left) and left[at] <= number + tolerance + 1e-9:
            count, at = count + 1, at + 1
    return count


def _names(table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {word: name for name, listed in table.items() for word in listed}


_REGION_OF, _SIDE_OF, _TERM_OF = _names(REGIONS), _names(SIDES), _names(TERMS)
_UNIT_OF = _names(UNITS)


def _either(*tables: Mapping[str, str]) -> str:
    words = sorted(Counter(word for table in tables for word in table), key=len, reverse=True)
    return "|".join(re.escape(word) for word in words)


_PATTERN = re.compile(
    rf"(?P<number>(?<![\w.])-?[0-9]+(?:\.[0-9]+)?)\s*-?(?P<unit>{_either(_UNIT_OF)})(?!\w)"
    rf"|(?<!\w)(?P<word>{_either(_REGION_OF, _SIDE_OF, _TERM_OF)})(?!\w)"
)
