"""Frames of DICOM files, each with its place in the patient and its scaling.

A classic file holds one slice; an enhanced one holds many, whose facts stand in sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import InputError
from medblip.volumes.dicom_elements import BrokenDicomError, find_elements, find_items
from medblip.volumes.dicom_file import DicomFile
from medblip.volumes.dicom_values import TAGS, Values, broken

_MOST_FRAMES = 100_000
_WANTED = frozenset(TAGS.values())


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice.

    Attributes:
        file: the file that holds it.
        index: its number within the file, from 0.
        instance: InstanceNumber of a classic file; None if it has none.
        position: mm of the first pixel's centre in the patient, LPS.
        orientation: unit vectors along a row and along a column, LPS.
        spacing: mm between rows, and between columns.
        slope, intercept: intensity = stored * slope + intercept.
    """

    file: DicomFile
    index: int
    instance: int | None
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    slope: float
    intercept: float


def frames_of(file: DicomFile) -> list[Frame]:
    """The frames of a file, in its own order.

    Raises:
        InputError: ``broken-dicom`` for missing or impossible facts, ``unsupported-format`` for
            frames whose places in the patient are not told.
    """
    values = file.values
    count = (values.count("NumberOfFrames") or 0) if "NumberOfFrames" in values else 1
    if not 1 <= count <= _MOST_FRAMES:
        raise broken(file.name, f"DICOM field NumberOfFrames is not 1 to {_MOST_FRAMES:,}")
    if "ModalityLUTSequence" in values:
        raise _unsupported(file.name, "scales its pixels by a table")
    if "MOSAIC" in values.code("ImageType").split("\\"):
        raise _unsupported(file.name, "holds all slices in one mosaic picture")
    if "PerFrameFunctionalGroupsSequence" in values:
        return _enhanced(file, count)
    if count > 1:
        raise _unsupported(file.name, f"holds {count} frames and not where each of them lies")
    return [_frame(file, 0, values.count("InstanceNumber"), dict.fromkeys(_PLACES, values))]


_PLACES = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_SCALING = "PixelValueTransformationSequence"


def _enhanced(file: DicomFile, count: int) -> list[Frame]:
    try:
        shared = _items(file.values, "SharedFunctionalGroupsSequence")
        each = _items(file.values, "PerFrameFunctionalGroupsSequence")
        if len(each) != count:
            found = f"{len(each)} frame descriptions for {count} frames"
            raise broken(file.name, found)
        common = _groups(shared[0]) if shared else {}
        return [_frame(file, i, None, common | _groups(item)) for i, item in enumerate(each)]
    except BrokenDicomError as error:
        raise broken(file.name, str(error)) from None


def _groups(item: Values) -> dict[str, Values]:
    """The functional groups of a frame, or those that all frames share, by name."""
    names = (*_PLACES, _SCALING)
    return {name: inner[0] for name in names if (inner := _items(item, name))}


def _items(values: Values, keyword: str) -> list[Values]:
    sequence = values.element(keyword)
    if sequence is None:
        return []
    return [
        Values(
            values.name,
            values.data,
            values.encoding,
            find_elements(values.data, item.start, item.end, values.encoding, _WANTED),
        )
        for item in find_items(values.data, sequence, values.encoding)
    ]


def _frame(file: DicomFile, index: int, instance: int | None, groups: dict[str, Values]) -> Frame:
    missing = [name for name in _PLACES if name not in groups]
    if missing:
        raise broken(file.name, f"frame {index + 1} has no {missing[0]}")
    position, orientation, measures = (groups[name] for name in _PLACES)
    scaling = groups.get(_SCALING, position)
    slope = scaling.numbers("RescaleSlope", 1)[0] if "RescaleSlope" in scaling else 1.0
    if slope == 0:
        raise broken(file.name, "DICOM field RescaleSlope is 0")
    shift = scaling.numbers("RescaleIntercept", 1)[0] if "RescaleIntercept" in scaling else 0.0
    return Frame(
        file,
        index,
        instance,
        position.numbers("ImagePositionPatient", 3),
        orientation.numbers("ImageOrientationPatient", 6),
        measures.numbers("PixelSpacing", 2),
        slope,
        shift,
    )


def _unsupported(name: str, problem: str) -> InputError:
    return InputError(
        name,
        f"{problem}, which is not read; expected slices with their places in the patient",
        "convert the series: dcm2niix -z y FOLDER",
        code="unsupported-format",
    )
