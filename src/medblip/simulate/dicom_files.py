"""Simulated DICOM series: one MR image a file, as scanners export and LONI names them."""

from __future__ import annotations

import hashlib
import importlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.errors import UsageError
from medblip.simulate.image_files import SIMULATED, Draw
from medblip.simulate.pictures import Acquisition, Picture

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_UUID_ROOT = "2.25"  # identifiers made of a hash need no registered root
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class DicomSeries:
    """The slices of one image.

    Attributes:
        folder: relative to the cohort's folder.
        stem: of the file names, before ``_<slice>``.
        suffix: after it, e.g. ``_S12_I34.dcm``.
        scan: what they show; the third voxel axis counts the slices.
        subject: identifier in the files.
        description: of the series.
        day: of the scan.
        missing: numbers of slices that were lost, from 1.
    """

    folder: str
    stem: str
    suffix: str
    scan: Acquisition
    subject: str
    description: str
    day: date
    missing: tuple[int, ...] = ()

    def paths(self) -> list[str]:
        return [self._path(number) for number in self._numbers()]

    def contents(self, draw: Draw) -> Iterator[tuple[str, bytes]]:
        pydicom = _pydicom()
        picture = draw(self.scan)
        dataset = self._series(pydicom, picture)
        for number in self._numbers():
            uid = _uid(self.folder, self.suffix, str(number))
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
            dataset.InstanceNumber = str(number)
            _place(dataset, picture.affine, number)
            _fill(dataset, picture.array[:, :, number - 1])
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
            yield self._path(number), buffer.getvalue()

    def _numbers(self) -> list[int]:
        return [n for n in range(1, self.scan.shape[2] + 1) if n not in self.missing]

    def _path(self, number: int) -> str:
        return f"{self.folder}/{self.stem}_{number}{self.suffix}"

    def _series(self, pydicom: Any, picture: Picture) -> Any:
        """What all slices share."""
        dataset = pydicom.Dataset()
        self._describe(dataset)
        meta = dataset.file_meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MR_IMAGE_STORAGE
        dataset.SeriesInstanceUID = _uid(self.folder, self.suffix)
        dataset.StudyInstanceUID = _uid(self.subject, self.day.isoformat())
        dataset.FrameOfReferenceUID = _uid(self.folder, self.suffix, "frame")
        edges = _edges(picture.affine)
        along = picture.affine[:3, :3] / edges * _RAS_TO_LPS[:, None]
        directions = np.concatenate([along[:, 0], along[:, 1]])
        dataset.ImageOrientationPatient = [_decimal(value) for value in directions]
        dataset.PixelSpacing = [_decimal(edges[1]), _decimal(edges[0])]
        dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(edges[2])
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        return dataset

    def _describe(self, dataset: Any) -> None:
        """Who and what; nothing here could be mistaken for a patient's."""
        site = self.scan.protocol.site
        dataset.PatientName = SIMULATED
        dataset.PatientID = self.subject
        dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = SIMULATED
        dataset.InstitutionName = dataset.Manufacturer = SIMULATED
        dataset.StudyDate = dataset.SeriesDate = self.day.strftime("%Y%m%d")
        dataset.StudyTime = "000000"
        dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
        dataset.PositionReferenceIndicator = dataset.Laterality = ""
        dataset.Modality = "MR"
        dataset.SeriesDescription = self.description
        dataset.SeriesNumber = "1"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.ScanningSequence, dataset.SequenceVariant = ["GR", "IR"], ["SP", "MP"]
        dataset.ScanOptions, dataset.MRAcquisitionType = "", "3D"
        dataset.EchoTime, dataset.EchoTrainLength, dataset.RepetitionTime = "3", "1", "2300"
        dataset.MagneticFieldStrength = f"{site.field_strength_t:g}"


def _place(dataset: Any, affine: NDArray[np.float64], number: int) -> None:
    """Where the slice's first pixel lies in the patient, LPS mm."""
    first = affine[:3, :3] @ np.array([0, 0, number - 1]) + affine[:3, 3]
    dataset.ImagePositionPatient = [_decimal(value) for value in first * _RAS_TO_LPS]


def _fill(dataset: Any, slice_: NDArray[np.int16]) -> None:
    """The pixels; columns run along the first voxel axis."""
    dataset.Columns, dataset.Rows = slice_.shape
    dataset.PixelData = np.ascontiguousarray(slice_.T).astype("<u2").tobytes()


def _edges(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    edges: NDArray[np.float64] = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return edges


def _decimal(value: float) -> str:
    """A DICOM decimal string, at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if value else "0"


def _uid(*parts: str) -> str:
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()
    return f"{_UUID_ROOT}.{int(digest[:30], 16)}"


def _pydicom() -> Any:
    try:
        return importlib.import_module("pydicom")
    except ImportError:
        raise UsageError(
            "pydicom",
            "is not installed; ADNI and AIBL are written as DICOM with it",
            "pip install 'medblip[dicom]', or choose other cohorts",
            code="missing-extra",
        ) from None
