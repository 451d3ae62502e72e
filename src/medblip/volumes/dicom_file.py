"""One DICOM file in memory: its transfer syntax and the few elements that make a volume."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from medblip.errors import InputError
from medblip.volumes.dicom_elements import BrokenDicomError, Encoding, end_of_group, find_elements
from medblip.volumes.dicom_values import TAGS, Values, broken

_PREAMBLE_BYTES = 128
_FIRST_ELEMENT = 132
_TRANSFER_SYNTAX = 0x00020010
_WANTED = frozenset(TAGS.values())

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = {
    IMPLICIT_LITTLE: Encoding(explicit=False),
    EXPLICIT_LITTLE: Encoding(),
    EXPLICIT_BIG: Encoding(order=">"),
}


@dataclass(frozen=True)
class DicomFile:
    """A parsed file.

    Attributes:
        name: for messages.
        values: its elements.
        syntax: UID of the transfer syntax: how pixels are packed.
        sha256: of its bytes.
    """

    name: str
    values: Values
    syntax: str
    sha256: str

    @property
    def packed(self) -> bool:
        """Whether the pixels are compressed."""
        return self.syntax not in _NATIVE

    @property
    def is_image(self) -> bool:
        keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        return any(keyword in self.values for keyword in keywords)

    @property
    def series(self) -> str:
        """What its series is called: a hash, since the UID may lead to a person."""
        return self.values.fingerprint("SeriesInstanceUID")


def is_dicom(content: bytes) -> bool:
    """Whether the bytes carry the mark of a DICOM file."""
    return content[_PREAMBLE_BYTES:_FIRST_ELEMENT] == b"DICM"


def parse_dicom(content: bytes, name: str) -> DicomFile:
    """Parse the bytes of a DICOM file; pixels are not decoded.

    Raises:
        InputError: ``broken-dicom``, or ``unsupported-format`` for the deflated transfer syntax.
    """
    if not is_dicom(content):
        raise broken(name, "does not carry the mark DICM after its first 128 bytes")
    try:
        syntax, start = _meta(content)
        if syntax == _DEFLATED:
            raise InputError(
                name,
                "is deflated as a whole; expected another transfer syntax",
                "convert it: dcmconv +te IN OUT",
                code="unsupported-format",
            )
        # Packed pixels stand in files whose elements are written explicitly, little end first.
        encoding = _NATIVE.get(syntax, Encoding())
        elements = find_elements(content, start, len(content), encoding, _WANTED)
    except BrokenDicomError as error:
        raise broken(name, str(error)) from None
    values = Values(name, content, encoding, elements)
    return DicomFile(name, values, syntax, hashlib.sha256(content).hexdigest())


def _meta(content: bytes) -> tuple[str, int]:
    """The transfer syntax, and where the elements after the meta group begin."""
    end = end_of_group(content, _FIRST_ELEMENT, 2)
    found = find_elements(content, _FIRST_ELEMENT, end, Encoding(), {_TRANSFER_SYNTAX})
    if _TRANSFER_SYNTAX not in found:
        raise BrokenDicomError("it names no transfer syntax")
    element = found[_TRANSFER_SYNTAX]
    return content[element.start : element.end].decode("ascii", "replace").strip(" \0"), end
