"""How the pixels of a DICOM file are stored, checked before any is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medblip.errors import InputError
from medblip.volumes.dicom_file import EXPLICIT_BIG, DicomFile
from medblip.volumes.dicom_values import broken

# What Modality may say of other pictures than the one that is read here.
_OTHER_MODALITIES = {
    "CT": "computed tomography",
    "PT": "positron emission tomography",
    "NM": "nuclear medicine",
    "US": "ultrasound",
    "CR": "a projection X-ray",
    "DX": "a projection X-ray",
    "XA": "an angiogram",
    "MG": "a mammogram",
    "SEG": "a segmentation",
    "SC": "a secondary capture",
    "OT": "another picture",
}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Shape and type of one frame as it is stored.

    Attributes:
        rows, columns: pixels.
        bits: allocated for each pixel; 8, 16 or 32.
        bits_used: of them, as BitsStored says.
        signed: two's complement.
        order: byte order, ``<`` or ``>``.
    """

    rows: int
    columns: int
    bits: int
    bits_used: int
    signed: bool
    order: str

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{'i' if self.signed else 'u'}{self.bits // 8}")

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.bits // 8


def pixel_format(file: DicomFile) -> PixelFormat:
    """Check what a file says of its pixels.

    Raises:
        InputError: ``wrong-modality``, ``rgb-volume``, ``unsupported-datatype``,
            ``bad-dimensions`` or ``broken-dicom``.
    """
    values = file.values
    modality = values.code("Modality")
    if modality in _OTHER_MODALITIES:
        raise InputError(
            file.name,
            f"is {_OTHER_MODALITIES[modality]} (DICOM field Modality); expected magnetic resonance",
            "give a T1-weighted MR series",
            code="wrong-modality",
        )
    photometric = values.code("PhotometricInterpretation")
    if photometric not in ("MONOCHROME2", ""):
        code = "unsupported-datatype" if photometric == "MONOCHROME1" else "rgb-volume"
        raise InputError(
            file.name,
            "holds colour or inverted pixels (DICOM field PhotometricInterpretation); "
            "expected MONOCHROME2",
            "give the original series, not pictures made of it",
            code=code,
        )
    if "SamplesPerPixel" in values and values.integer("SamplesPerPixel") != 1:
        raise broken(file.name, "DICOM field SamplesPerPixel is not 1")
    return _checked(file)


def _checked(file: DicomFile) -> PixelFormat:
    values = file.values
    rows, columns = values.integer("Rows"), values.integer("Columns")
    if not rows or not columns:
        raise InputError(
            file.name,
            f"announces {rows} rows and {columns} columns; expected 1 or more of each",
            "copy or download the file again",
            code="bad-dimensions",
        )
    bits = values.integer("BitsAllocated")
    used = values.integer("BitsStored") if "BitsStored" in values else bits
    if "PixelData" not in values or bits not in (8, 16, 32) or not 1 <= used <= bits:
        raise InputError(
            file.name,
            f"stores {used} of {bits} bits for each pixel, or no whole numbers; "
            "expected 8, 16 or 32 bits",
            "convert the series: dcm2niix -z y FOLDER",
            code="unsupported-datatype",
        )
    signed = "PixelRepresentation" in values and values.integer("PixelRepresentation") == 1
    order = ">" if file.syntax == EXPLICIT_BIG else "<"
    return PixelFormat(rows, columns, bits, used, signed, order)
