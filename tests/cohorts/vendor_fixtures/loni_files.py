"""Files as LONI delivers them: one folder an image, NIfTI or one DICOM file a slice."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from vendor_fixtures.small_files import SHAPE, VOXEL_MM, head, nifti, write

_ROOT = "1.2.826.0.1.3680043.8.498.9"
_MR = "1.2.840.10008.5.1.4.1.1.4"
_STAMP = "20100101120000000"  # of the upload, 17 digits; it is not the day of the scan


def place(subject: str, series: str, day: str, folder: str) -> str:
    """The folder of one image, e.g. ``ADNI/123_S_4567/MPRAGE/2006-03-01_10_20_30.0/I55``."""
    return f"{subject}/{series}/{day}_10_20_30.0/{folder}"


def nifti_image(
    root: Path, subject: str, series: str, day: str, image: int, *, raw: bool = False
) -> str:
    """One NIfTI image (processed unless ``raw``); its path below ``root``."""
    top, name = subject.rsplit("/", 1)
    kind = f"br_raw_{_STAMP}_1" if raw else f"Br_{_STAMP}"
    file = f"{top.split('/')[-1]}_{name}_MR_{series}_{kind}_S{image + 7}_I{image}.nii"
    path = f"{place(subject, series, day, f'I{image}')}/{file}"
    write(root / path, nifti(image))
    return path


def dicom_image(
    root: Path,
    subject: str,
    series: str,
    day: str,
    image: int,
    *,
    folder: str = "",
    modality: str = "MR",
    slices: int = SHAPE[2],
) -> str:
    """One original image as slices; its folder and pattern below ``root``."""
    top, name = subject.rsplit("/", 1)
    inside = place(subject, series, day, folder or f"I{image}")
    stem = f"{top.split('/')[-1]}_{name}_{modality}_{series}_br_raw_{_STAMP}"
    for number in range(slices):
        data = dicom_slice(image, number)
        write(root / inside / f"{stem}_{number + 1}_S{image + 7}_I{image}.dcm", data)
    return f"{inside}/*_I{image}.dcm"


def dicom_slice(image: int, number: int, **elements: object) -> bytes:
    """One axial slice of the head that ``image`` seeds, rows to posterior, columns to left.

    ``elements`` are set last, by their keywords.
    """
    voxels = head(image)[::-1, ::-1, number].T
    first = -VOXEL_MM * (np.array(SHAPE) - 1) / 2
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = _MR
    uid = f"{_ROOT}.{image}.1.{number + 1}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.SeriesInstanceUID = f"{_ROOT}.{image}.1"
    dataset.StudyInstanceUID = f"{_ROOT}.{image}"
    dataset.FrameOfReferenceUID = f"{_ROOT}.{image}.2"
    dataset.Modality = "MR"
    dataset.SeriesDescription = "MPRAGE"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.InstanceNumber = str(number + 1)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [first[0], first[1], first[2] + VOXEL_MM * number]
    dataset.PixelSpacing = [VOXEL_MM, VOXEL_MM]
    dataset.SliceThickness = str(VOXEL_MM)
    dataset.Rows, dataset.Columns = voxels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.ascontiguousarray(voxels.astype("<u2")).tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    data = io.BytesIO()
    pydicom.dcmwrite(data, dataset, enforce_file_format=True)
    return data.getvalue()
