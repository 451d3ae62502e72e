"""Slices missing at the ends of a stack, where no gap betrays them: their numbers may."""

from __future__ import annotations

from collections.abc import Sequence

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.dicom_frames import Frame


def check_ends(ordered: Sequence[Frame], name: str) -> tuple[Finding, ...]:
    """Compare the slices' numbers with their count.

    That InstanceNumber begins at 0 or 1 and ImagesInAcquisition counts one series is what the
    standard suggests and scanners mostly do; it was not verified on the cohorts' own files.

    Args:
        ordered: frames along the stack, evenly apart.
        name: of the series, for messages.

    Returns:
        A warning where the numbers tell nothing or are odd.

    Raises:
        InputError: ``missing-end-slices``.
    """
    if any(frame.file.values.element("PerFrameFunctionalGroupsSequence") for frame in ordered):
        return ()  # all slices of an enhanced file come together
    count = len(ordered)
    announced = max(_announced(frame) for frame in ordered)
    if announced > count:
        raise _missing(name, f"{announced} images in the acquisition (ImagesInAcquisition)", count)
    numbers = [frame.instance for frame in ordered if frame.instance is not None]
    if len(numbers) < count:
        return (_doubt(name, "not all slices have an InstanceNumber"),)
    first, span = min(numbers), max(numbers) - min(numbers) + 1
    if 1 < first <= count:
        raise _missing(name, f"InstanceNumber begins at {first}", count)
    if first > count:
        return (_doubt(name, f"InstanceNumber begins at {first}, beyond the {count} slices"),)
    if span == count and len(set(numbers)) == count:
        return ()
    told = f"InstanceNumber goes from {first} to {max(numbers)} over {count} slices"
    rising = sorted(numbers) in (numbers, numbers[::-1])
    if span > count and not rising:  # numbered in another order than they lie: any may be missing
        raise _missing(name, told, count)
    return (_doubt(name, told),)


def _announced(frame: Frame) -> int:
    return frame.file.values.count("ImagesInAcquisition") or 0


def _missing(name: str, told: str, count: int) -> InputError:
    return InputError(
        name,
        f"slices are missing at an end of the stack of {count}: {told}; expected them all",
        "download the series again; if it is whole, convert it: dcm2niix -z y FOLDER",
        code="missing-end-slices",
    )


def _doubt(name: str, problem: str) -> Finding:
    return Finding(
        "slice-numbers",
        "warning",
        name,
        f"{problem}, so that slices missing at an end cannot be noticed",
        "check the picture for a cut head",
    )
