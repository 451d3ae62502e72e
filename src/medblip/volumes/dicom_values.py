"""Values of DICOM elements as numbers; text is only compared, hashed or counted, never shown."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass

from medblip.errors import InputError
from medblip.volumes.dicom_elements import Element, Encoding

# Names by which messages call the elements that are read; their values are not shown.
KEYWORDS = {
    0x00080008: "ImageType",
    0x00080018: "SOPInstanceUID",
    0x00080060: "Modality",
    0x0020000E: "SeriesInstanceUID",
    0x00200013: "InstanceNumber",
    0x00200032: "ImagePositionPatient",
    0x00200037: "ImageOrientationPatient",
    0x00200052: "FrameOfReferenceUID",
    0x00201002: "ImagesInAcquisition",
    0x00280002: "SamplesPerPixel",
    0x00280004: "PhotometricInterpretation",
    0x00280008: "NumberOfFrames",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280030: "PixelSpacing",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x00280103: "PixelRepresentation",
    0x00281052: "RescaleIntercept",
    0x00281053: "RescaleSlope",
    0x00283000: "ModalityLUTSequence",
    0x00289110: "PixelMeasuresSequence",
    0x00289145: "PixelValueTransformationSequence",
    0x00209113: "PlanePositionSequence",
    0x00209116: "PlaneOrientationSequence",
    0x52009229: "SharedFunctionalGroupsSequence",
    0x52009230: "PerFrameFunctionalGroupsSequence",
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
TAGS = {keyword: tag for tag, keyword in KEYWORDS.items()}


@dataclass(frozen=True, slots=True)
class Values:
    """The elements found in one data set, read on demand.

    Attributes:
        name: the file, for messages.
        data: its bytes.
        encoding: how they are written.
        elements: where each value lies, by tag.
    """

    name: str
    data: bytes
    encoding: Encoding
    elements: dict[int, Element]

    def __contains__(self, keyword: str) -> bool:
        element = self.elements.get(TAGS[keyword])
        return element is not None and element.end > element.start

    def raw(self, keyword: str) -> bytes:
        """The value's bytes; empty if there is none."""
        element = self.elements.get(TAGS[keyword])
        return b"" if element is None else self.data[element.start : element.end]

    def element(self, keyword: str) -> Element | None:
        return self.elements.get(TAGS[keyword])

    def code(self, keyword: str) -> str:
        """Text without padding, for comparing with known codes."""
        return self.raw(keyword).decode("ascii", "replace").strip(" \0")

    def integer(self, keyword: str) -> int:
        """A 16-bit number.

        Raises:
            InputError: ``broken-dicom`` if it is missing or has another size.
        """
        raw = self.raw(keyword)
        if len(raw) != 2:
            raise self._wrong(keyword, "is missing or no 16-bit number")
        return int(struct.unpack(self.encoding.order + "H", raw)[0])

    def count(self, keyword: str) -> int | None:
        """A whole number written as text; None if it is missing or no such number."""
        text = self.code(keyword)
        # No counter has more digits, and int() of a long text takes quadratic time.
        return int(text) if len(text) <= 12 and text.lstrip("+-").isdigit() else None

    def numbers(self, keyword: str, expected: int) -> tuple[float, ...]:
        """Finite decimal numbers.

        Raises:
            InputError: ``broken-dicom`` if they are missing, fewer, more, or no numbers.
        """
        parts = self.raw(keyword).split(b"\\")
        try:
            values = tuple(float(part.strip(b" \0")) for part in parts)
        except ValueError:
            values = ()
        if len(values) != expected or not all(math.isfinite(value) for value in values):
            raise self._wrong(keyword, f"is missing or not {expected} finite number(s)")
        return values

    def fingerprint(self, keyword: str) -> str:
        """The first hex digits of a value's hash: tells two values apart and shows neither."""
        return hashlib.sha256(self.raw(keyword).strip(b" \0")).hexdigest()[:12]

    def _wrong(self, keyword: str, problem: str) -> InputError:
        return broken(self.name, f"DICOM field {keyword} {problem}")


def broken(name: str, problem: str) -> InputError:
    """The error for a file that is no sound DICOM image; no value of it is named."""
    return InputError(
        name,
        f"{problem}; expected a sound DICOM image",
        "copy or download the file again",
        code="broken-dicom",
    )
