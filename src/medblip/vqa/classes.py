"""Which class of answers a scan belongs to, by kind of question; None: it is not asked about."""

from __future__ import annotations

from collections.abc import Callable

from medblip.vqa.ground_truth import REGIONS, Scan
from medblip.vqa.normal_for_age import DEVIATION_SD, MARGIN_SD, Norms, class_of

# Standard deviations of left less right: within the first less the margin, sides are alike.
SIDE_SD, SIDE_MARGIN_SD = 0.4, 0.2
REGION_MARGIN_SD = 0.3  # of normals: by so much one region must be further off than the others

ClassOf = Callable[[Scan, Norms], int | None]


def grade(region: str) -> ClassOf:
    """Quarter of the training scans that the region's displacement falls into."""

    def classify(scan: Scan, norms: Norms) -> int | None:
        margin = MARGIN_SD * norms.spread[region]
        return class_of(scan.mean_mm[region], norms.grade_cuts[region], margin)

    return classify


def upper_half(region: str) -> ClassOf:
    """Whether the displacement is above the median of the training scans."""

    def classify(scan: Scan, norms: Norms) -> int | None:
        margin = MARGIN_SD * norms.spread[region]
        return class_of(scan.mean_mm[region], norms.grade_cuts[region][1:2], margin)

    return classify


def size(scan: Scan, norms: Norms) -> int | None:
    """Third of the training scans that the ventricles fall into."""
    margin = MARGIN_SD * norms.spread["ventricles"]
    return class_of(scan.mean_mm["ventricles"], norms.size_cuts["ventricles"], margin)


def for_age(scan: Scan, norms: Norms) -> int | None:
    """Ventricles smaller than, as, or larger than expected at the age."""
    deviation = norms.deviation(scan, "ventricles")
    return class_of(deviation, (-DEVIATION_SD, DEVIATION_SD), MARGIN_SD)


def larger_for_age(scan: Scan, norms: Norms) -> int | None:
    """Whether the ventricles are larger than expected at the age."""
    return class_of(norms.deviation(scan, "ventricles"), (DEVIATION_SD,), MARGIN_SD)


def skull(scan: Scan, norms: Norms) -> int | None:
    """Whether the skull is in the image."""
    return None if scan.skull is None else int(scan.skull)


def side(region: str) -> ClassOf:
    """Right affected more, both about the same, or left more."""

    def classify(scan: Scan, norms: Norms) -> int | None:
        difference = norms.side_difference(scan, region)
        if difference is None:
            return None
        return class_of(difference, (-SIDE_SD, SIDE_SD), SIDE_MARGIN_SD)

    return classify


def left_more(region: str) -> ClassOf:
    """Whether the left is affected more than the right; not asked where both are alike."""

    def classify(scan: Scan, norms: Norms) -> int | None:
        difference = norms.side_difference(scan, region)
        return None if difference is None else class_of(difference, (0.0,), SIDE_SD)

    return classify


def most_affected(scan: Scan, norms: Norms) -> int | None:
    """The region that is the furthest above what is expected at the age, if one clearly is."""
    deviations = [norms.deviation(scan, region) for region in REGIONS]
    second, first = sorted(deviations)[-2:]
    if first <= DEVIATION_SD or first - second < REGION_MARGIN_SD:
        return None
    return deviations.index(first)


def regions_affected(scan: Scan, norms: Norms) -> int | None:
    """How many regions are affected more than expected at the age."""
    beyond = [class_of(norms.deviation(scan, r), (DEVIATION_SD,), MARGIN_SD) for r in REGIONS]
    known = [above for above in beyond if above is not None]
    return sum(known) if len(known) == len(beyond) else None


CLASSES: dict[str, ClassOf] = {
    "medial-temporal-grade": grade("medial_temporal"),
    "ventricle-size": size,
    "ventricles-for-age": for_age,
    "larger-for-age": larger_for_age,
    "medial-temporal-loss": upper_half("medial_temporal"),
    "cortical-thinning": upper_half("cortex"),
    "skull": skull,
    "medial-temporal-side": side("medial_temporal"),
    "ventricle-side": side("ventricles"),
    "left-medial-temporal-more": left_more("medial_temporal"),
    "left-ventricle-more": left_more("ventricles"),
    "most-affected-region": most_affected,
    "regions-affected": regions_affected,
}
