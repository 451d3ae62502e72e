"""What the numbers say, in sentences that are made from them, whichever way they fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medblip.evaluation.content import Calibration, Comparison, Withheld
from medblip.evaluation.metrics import ClassificationMetrics, Interval, PairedDifference

Tone = Literal["for", "against", "open"]

MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"
CALIBRATED_WITHIN = 0.05  # expected calibration error up to which we say "yes"
UNDEFINED = "not defined"


@dataclass(frozen=True)
class Verdict:
    """A question, its answer in a word or two, what that rests on, and whom it speaks for."""

    question: str
    answer: str
    text: str
    tone: Tone


def percent(fraction: float | None, digits: int = 1) -> str:
    """``0.7333`` -> ``73.3%``."""
    if fraction is None or math.isnan(fraction):
        return UNDEFINED
    return f"{_signed(fraction * 100, digits)}%"


def decimal(value: float | None, digits: int = 2) -> str:
    return UNDEFINED if value is None or math.isnan(value) else _signed(value, digits)


def span(interval: Interval, scale: float = 1.0, digits: int = 2) -> str:
    """``0.68 to 0.78``; ``scale`` 100 and 1 digit give percent or points."""
    if math.isnan(interval.low):
        return "no interval"
    return f"{_signed(interval.low * scale, digits)} to {_signed(interval.high * scale, digits)}"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    text = _signed(fraction * 100, 1)
    return text if text.startswith(MINUS) or text == "0.0" else f"+{text}"


def p_value(p: float) -> str:
    text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return text.replace(" ", NO_BREAK)


def commonest_share(metrics: ClassificationMetrics) -> float:
    """Accuracy of always giving the test set's commonest label."""
    return max(metrics.rows_per_class) / metrics.n_rows


def headline(full: ClassificationMetrics) -> str:
    """The first sentence of the page: what was measured, on how many, against what."""
    interval = (
        "no interval"
        if math.isnan(full.accuracy.low)
        else f"{full.confidence:.0%} interval {span(full.accuracy, 100, 1)}%"
    )
    return (
        f"MedBLIP names the right label for {percent(full.accuracy.value)} of {full.n_rows:,} test "
        f"scans from {full.n_subjects:,} subjects ({interval}). "
        "Always giving the commonest label would be right for "
        f"{percent(commonest_share(full))}."
    )


def verdicts(
    full: ClassificationMetrics,
    controls: Sequence[Comparison],
    simple_models: Sequence[Comparison],
    calibration: Calibration,
) -> list[Verdict]:
    """What a reader wants to know first, in that order."""
    found = [withheld_verdict(controls, "image"), withheld_verdict(controls, "record")]
    if simple_models:
        found.append(simple_verdict(full, simple_models))
    return [*(v for v in found if v is not None), calibration_verdict(full, calibration)]


def withheld_verdict(controls: Sequence[Comparison], withheld: Withheld) -> Verdict | None:
    """Whether withholding an input costs accuracy; None without such a control."""
    without = [c for c in controls if c.withholds == withheld]
    if not without:
        return None
    differences = [c.against_full.difference for c in without]
    answer: str
    tone: Tone
    if all(d.high < 0 for d in differences):
        answer, tone = "Yes", "for"
        meaning = f"Without the right {withheld} accuracy falls by more than chance explains."
    elif any(d.low > 0 for d in differences):
        answer, tone = "It is misled by it", "against"
        meaning = f"Without the right {withheld} the answers get better."
    else:
        answer, tone = "Not shown", "open"
        which = "The interval" if len(without) == 1 else "An interval"
        meaning = f"{which} of the difference to the full model includes zero."
    changes = "; ".join(f"{_lower(c.title)} {_change(c.against_full)}" for c in without)
    text = f"{meaning} {changes[:1].upper()}{changes[1:]}."
    return Verdict(f"Does the answer use the {withheld}?", answer, text, tone)


def simple_verdict(full: ClassificationMetrics, simple_models: Sequence[Comparison]) -> Verdict:
    """Whether a model that anyone can fit in a second does better."""
    question = "Does it beat models that anyone can fit in a second?"
    ours = full.accuracy.value
    ranked = sorted(simple_models, key=lambda c: -c.metrics.accuracy.value)
    higher = [c for c in ranked if c.metrics.accuracy.value > ours]
    if higher:
        text = " ".join(
            f"{c.title} scores higher than MedBLIP on this set: "
            f"{percent(c.metrics.accuracy.value)} against {percent(ours)}, "
            f"{_change(c.against_full)}."
            for c in higher
        )
        return Verdict(question, "No", text, "against")
    best = ranked[0]
    start = (
        "The best simple model scores the same as MedBLIP on this set"
        if best.metrics.accuracy.value == ours
        else "No simple model scores higher than MedBLIP on this set"
    )
    text = (
        f"{start}: the best, {_lower(best.title)}, is right for "
        f"{percent(best.metrics.accuracy.value)}, {_change(best.against_full)}."
    )
    if best.against_full.difference.high < 0:
        return Verdict(question, "Yes", text, "for")
    return Verdict(question, "Not shown", f"{text} The interval includes zero.", "open")


def calibration_verdict(full: ClassificationMetrics, calibration: Calibration) -> Verdict:
    """Whether stated probabilities are near the share of right answers."""
    question = "Can its probabilities be taken at their word?"
    before = calibration.raw_ece
    text = (
        f"On average they are off by {percent(full.ece)} (expected calibration error of the answer "
        f"given, {full.ece_bins} bins)"
    )
    text += "." if before is None else f", {percent(before)} before calibration."
    if not calibration.fitted_on:
        return Verdict(question, "Not calibrated", text, "open")
    text += f" Temperature {calibration.temperature:.2f}, from {calibration.fitted_on}."
    if before is not None and full.ece > before:
        return Verdict(question, "Calibration made them worse", text, "against")
    if full.ece > CALIBRATED_WITHIN:
        return Verdict(question, "Roughly", text, "open")
    return Verdict(question, f"Yes, to within {CALIBRATED_WITHIN:.0%}", text, "for")


def _change(difference: PairedDifference) -> str:
    d = difference.difference
    return f"{points(d.value)} points ({span(d, 100, 1)}, {p_value(difference.p)})"


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def _lower(title: str) -> str:
    """A title inside a sentence; names in capitals stay."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title
