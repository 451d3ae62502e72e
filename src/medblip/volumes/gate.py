"""Whether a scan is what the model was made for: an adult human brain in T1-weighted MRI.

First what the intensities alone tell: a label map, a CT, a statistical map, something too small.
Then, where a template is at hand, whether a brain is in the scan and in which order its tissues
shine: in T1, white matter is brighter than gray and gray is brighter than fluid. A scan that fails
is out of scope: it gets no answer, and the finding says why.
"""

from __future__ import annotations

from dataclasses import dataclass

from medblip.findings import Finding, Level
from medblip.volumes.intensity_kinds import (
    air_share,
    distinct_values,
    flat_share,
    negative_share,
    object_size_mm,
)
from medblip.volumes.reference import Reference
from medblip.volumes.registration import Alignment, align
from medblip.volumes.tissue_contrast import (
    TissueContrast,
    bright_share,
    scalp_share,
    tissue_contrast,
)
from medblip.volumes.volume import Volume

__all__ = ["GATE_VERSION", "GateThresholds", "Reference", "check_plausibility"]

GATE_VERSION = "1"  # raise it whenever the same scan would be judged otherwise
FIX = "give a T1-weighted scan of an adult's whole brain"


@dataclass(frozen=True)
class GateThresholds:
    """Where the gate draws its lines, and what was measured on either side when they were set.

    "Brains" are T1-weighted: 8 real ones (6 templates and averages, a single subject, one with
    contrast agent) and 64 made from two of them by warps, atrophy, bias, noise, thick slices and
    rotation. "Others" are real where such files were at hand, else made with the same anatomy.

    Attributes:
        max_flat_share: share of neighbouring voxels with equal values; atlases 0.81 and more,
            brains up to 0.32 (stored in 64 steps).
        min_values: different values in a scan; masks have two or three.
        air_hu, max_air_share: Hounsfield range of air and the share of voxels in it; head CTs
            0.4 and more, MRI 0.
        negative_level, max_negative_share: voxels below minus this part of the 99th percentile
            and their share; statistical maps 0.14, brains with interpolation ringing 0.001.
        object_mm: shortest and longest edge of what stands out from the background; brains 105
            to 260 mm, a macaque's brain 64 mm.
        thick_mm: voxel edge above which fine structure is lost; a warning.
        min_score: R² of the tissue mixture; brains 0.46 and more (0.68 the real ones); spheres,
            fruits, animals, CT 0.40 and less, a perfusion scan 0.42.
        min_pattern: what gray and white matter explain beyond the outline; brains 0.09 and more,
            things with a brain's outline 0.03 and less.
        brain_zoom: brain size relative to the template; brains 0.82 to 1.01.
        gray: gray over white matter; brains 0.74 to 0.86, fractional anisotropy 0.47, angiogram
            0.91, CT 0.97, functional, FLAIR, proton density and T2 1.0 and more.
        max_fluid: fluid over white matter; brains 0.13 to 0.56, T2 1.3 and more.
        min_coverage, full_coverage: share of the brain in the field of view below which a scan is
            refused, and below which there is a warning. Cut by 16 mm at the top: 0.99; 24 mm:
            0.96; 32 mm: 0.93.
        bone: what is around the brain over its brightest tissue; CT 1.29 and more, brains up to
            0.57.
        max_stripped_scalp: brightest value around the brain over the brain inside; 0.00 without
            the skull, 0.85 and more with it.
        max_bright_share: share of the inner brain far brighter than white matter; 0.0022 with
            contrast agent, 0.0002 and less without.
    """

    max_flat_share: float = 0.6
    min_values: int = 8
    air_hu: tuple[float, float] = (-1100.0, -900.0)
    max_air_share: float = 0.02
    negative_level: float = 0.02
    max_negative_share: float = 0.02
    object_mm: tuple[float, float] = (80.0, 450.0)
    thick_mm: float = 2.5
    min_score: float = 0.40
    min_pattern: float = 0.055
    brain_zoom: tuple[float, float] = (0.74, 1.20)
    gray: tuple[float, float] = (0.58, 0.895)
    max_fluid: float = 0.72
    min_coverage: float = 0.95
    full_coverage: float = 0.98
    bone: float = 1.15
    max_stripped_scalp: float = 0.3
    max_bright_share: float = 0.001


def check_plausibility(
    volume: Volume,
    reference: Reference | None = None,
    thresholds: GateThresholds | None = None,
) -> tuple[Finding, ...]:
    """Judge whether a scan is in scope.

    Args:
        volume: the scan in any axis order, intensities as the file has them.
        reference: template to compare with; without it only the intensities are looked at.
        thresholds: where to draw the lines; ``GateThresholds()`` if None.

    Returns:
        What was found. An ``error`` (its code starts with ``out-of-scope``) means: no answer.
    """
    limits = thresholds or GateThresholds()
    error = _intensity_error(volume, limits)
    if error is not None:
        return (error,)
    thick = _thick_slices(volume, limits)
    if reference is None:
        return (*thick, _not_checked(volume))
    alignment = align(volume, reference)
    contrast = tissue_contrast(alignment, reference)
    error = _anatomy_error(volume, alignment, contrast, limits)
    if error is not None:
        return (*thick, error)
    bright = bright_share(volume, alignment, reference)
    scalp = scalp_share(volume, alignment, reference)
    return (*thick, *_remarks(volume, contrast.coverage, bright, scalp, limits))


def _out_of_scope(volume: Volume, kind: str, problem: str) -> Finding:
    return _finding(volume, f"out-of-scope-{kind}", "error", f"out of scope: {problem}", FIX)


def _finding(volume: Volume, code: str, level: Level, problem: str, fix: str = "") -> Finding:
    return Finding(code, level, volume.source, problem, fix)


def _intensity_error(volume: Volume, limits: GateThresholds) -> Finding | None:
    """What needs no template to be refused."""
    array = volume.array
    values = distinct_values(array, limits.min_values)
    if values < limits.min_values:
        return _out_of_scope(
            volume, "labels", f"a mask or an empty image: it has only {values} different values"
        )
    flat = flat_share(array)
    if flat > limits.max_flat_share:
        return _out_of_scope(
            volume,
            "labels",
            f"a label map or atlas: {flat:.0%} of neighbouring voxels have equal values, "
            f"a scan at most {limits.max_flat_share:.0%}",
        )
    air = air_share(array, limits.air_hu)
    if air > limits.max_air_share:
        return _out_of_scope(
            volume, "ct", f"a CT: {air:.0%} of its voxels have the Hounsfield value of air, -1000"
        )
    negative = negative_share(array, limits.negative_level)
    if negative > limits.max_negative_share:
        return _out_of_scope(
            volume,
            "signed",
            f"{negative:.0%} of its voxels are negative, as in a statistical map, a CT or a "
            "standardised image; intensities of MRI are not",
        )
    return _size_error(volume, limits)


def _size_error(volume: Volume, limits: GateThresholds) -> Finding | None:
    size = object_size_mm(volume)
    shortest, longest = limits.object_mm
    if min(size) >= shortest and max(size) <= longest:
        return None
    edges = " x ".join(f"{edge:.0f}" for edge in size)
    return _out_of_scope(
        volume,
        "size",
        f"what it shows is {edges} mm; expected {shortest:.0f} to {longest:.0f} mm along every "
        "axis (an adult's whole brain or head)",
    )


def _anatomy_error(
    volume: Volume, alignment: Alignment, contrast: TissueContrast, limits: GateThresholds
) -> Finding | None:
    """What the aligned template refuses."""
    score = f"fit {alignment.score:.2f}, expected {limits.min_score:.2f} or more"
    bone = contrast.outside / max(contrast.gray, contrast.fluid, 1.0)
    if bone > limits.bone:
        return _out_of_scope(
            volume,
            "ct",
            "what surrounds the brain is brighter than the brain, as bone is in a CT "
            f"({bone:.2f} of its brightest tissue, expected {limits.bone:.2f} or less)",
        )
    if alignment.score < limits.min_score:
        return _out_of_scope(
            volume,
            "anatomy",
            f"no human brain was found in it ({score}): another object, an animal, another part "
            "of the body, part of a head, or axes that the header mislabels",
        )
    smallest, largest = limits.brain_zoom
    if not smallest <= alignment.zoom <= largest:
        return _out_of_scope(
            volume,
            "size",
            f"the brain in it is {alignment.zoom:.2f} times as long as the template's; an adult's "
            f"is {smallest:.2f} to {largest:.2f} times (an animal, a child or wrong units)",
        )
    return _contrast_error(volume, contrast, limits) or _pattern_error(volume, contrast, limits)


def _contrast_error(
    volume: Volume, contrast: TissueContrast, limits: GateThresholds
) -> Finding | None:
    low, high = limits.gray
    if low <= contrast.gray <= high and contrast.fluid <= limits.max_fluid:
        return None
    return _out_of_scope(
        volume,
        "contrast",
        f"not T1-weighted but {_looks_like(contrast, limits)}: with white matter as 1, gray is "
        f"{contrast.gray:.2f} (expected {low:.2f} to {high:.2f}) and fluid {contrast.fluid:.2f} "
        f"(expected {limits.max_fluid:.2f} or less)",
    )


def _looks_like(contrast: TissueContrast, limits: GateThresholds) -> str:
    """A guess at the kind of image, for the message only."""
    if contrast.gray < limits.gray[0]:
        return "perhaps a white matter or anisotropy map"
    if contrast.fluid > max(contrast.gray, 1.0):
        return "perhaps T2-weighted, functional or diffusion without gradient"
    if contrast.gray > 1.3:
        return "perhaps a perfusion, PET or gray matter map"
    if contrast.gray > 1.0:
        dark = contrast.fluid < limits.max_fluid
        return "perhaps FLAIR or diffusion-weighted" if dark else "perhaps proton density"
    return "perhaps an angiogram, functional image or CT"


def _pattern_error(
    volume: Volume, contrast: TissueContrast, limits: GateThresholds
) -> Finding | None:
    if contrast.pattern < limits.min_pattern:
        return _out_of_scope(
            volume,
            "anatomy",
            "it has the outline of a brain but not the pattern of gray and white matter inside "
            f"({contrast.pattern:.3f}, expected {limits.min_pattern:.3f} or more)",
        )
    if contrast.coverage < limits.min_coverage:
        return _out_of_scope(
            volume,
            "partial",
            f"only {contrast.coverage:.0%} of the brain is in the field of view, expected "
            f"{limits.min_coverage:.0%} or more",
        )
    return None


def _thick_slices(volume: Volume, limits: GateThresholds) -> tuple[Finding, ...]:
    thickest = max(volume.voxel_sizes)
    if thickest <= limits.thick_mm:
        return ()
    problem = (
        f"its voxels are up to {thickest:.1f} mm long, training scans {limits.thick_mm:.1f} mm or "
        "less: fine structure is lost"
    )
    fix = "prefer a scan of about 1 mm, if there is one"
    return (_finding(volume, "thick-slices", "warning", problem, fix),)


def _not_checked(volume: Volume) -> Finding:
    return _finding(
        volume,
        "anatomy-not-checked",
        "note",
        "only the intensities were checked, not whether it shows a brain in T1 contrast",
        "fetch the template to have the anatomy checked",
    )


def _remarks(
    volume: Volume, coverage: float, bright: float, scalp: float, limits: GateThresholds
) -> tuple[Finding, ...]:
    """What is worth knowing about a scan that passed."""
    found = []
    if coverage < limits.full_coverage:
        problem = f"{1 - coverage:.0%} of the brain is outside the field of view"
        found.append(_finding(volume, "brain-cut", "warning", problem))
    if bright > limits.max_bright_share:
        problem = (
            f"possibly contrast-enhanced, outside the training data: {bright:.2%} of the inner "
            "brain is far brighter than white matter"
        )
        fix = "prefer the scan before contrast agent"
        found.append(_finding(volume, "contrast-enhanced", "warning", problem, fix))
    if scalp < limits.max_stripped_scalp:
        found.append(_finding(volume, "skull-stripped", "note", "the skull was removed before"))
    return tuple(found)
