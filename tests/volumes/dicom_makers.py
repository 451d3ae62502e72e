"""Small DICOM series written by pydicom: any array and affine, any wish about the headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from phantoms import rotation

SHAPE = (18, 17, 16)  # columns, rows, slices
SPACING = (11.0, 12.0, 13.0)
# Directions of columns, rows and slices in RAS, as scanners take them.
PLANES = {
    "axial": np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]).T,
    "sagittal": np.array([[0, -1, 0], [0, 0, -1], [-1, 0, 0]]).T,
    "coronal": np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]]).T,
}
PLANES["oblique"] = rotation(7, -11, 5) @ PLANES["sagittal"]
Change = Callable[[Dataset, int], None]


def picture(shape: tuple[int, int, int] = SHAPE, seed: int = 5) -> NDArray[np.uint16]:
    """Whole numbers with contrast, no two slices alike, ``(column, row, slice)``."""
    array = np.zeros(shape, dtype=np.uint16)
    inner = tuple(n - 4 for n in shape)
    array[2:-2, 2:-2, 2:-2] = np.random.default_rng(seed).integers(100, 1000, inner)
    array[0, 0, :] = np.arange(shape[2]) + 1
    return array


def ras_affine(plane: str = "sagittal", shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = PLANES[plane] @ np.diag(SPACING)
    affine[:3, 3] = [3.5, -20.25, 8] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def slices(
    array: NDArray[Any] | None = None,
    affine: NDArray[np.float64] | None = None,
    *,
    series: str | None = None,
) -> list[Dataset]:
    """One data set for each slice of ``array``, in the order of the third axis."""
    array = picture() if array is None else array
    affine = ras_affine(shape=array.shape) if affine is None else affine
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    common = Dataset()
    common.SeriesInstanceUID = series or generate_uid()
    common.StudyInstanceUID, common.FrameOfReferenceUID = generate_uid(), generate_uid()
    return [_slice(common, array[:, :, k], lps, k) for k in range(array.shape[2])]


def _slice(common: Dataset, pixels: NDArray[Any], lps: NDArray[np.float64], k: int) -> Dataset:
    data = _image(MRImageStorage, pixels.T)
    data.update(common)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    data.InstanceNumber = k + 1
    data.ImagePositionPatient = decimals(lps[:3, 3] + k * lps[:3, 2])
    data.ImageOrientationPatient = decimals((lps[:3, :2] / steps[:2]).T.ravel())
    data.PixelSpacing = decimals([steps[1], steps[0]])
    data.SliceThickness = decimals([steps[2]])[0]
    return data


def _image(kind: str, pixels: NDArray[Any]) -> Dataset:
    """Pixels ``(rows, columns)`` or ``(frames, rows, columns)`` with what describes them."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = kind, generate_uid()
    data.file_meta.MediaStorageSOPClassUID = kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.Modality = "MR"
    data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    return data


def decimals(values: Iterable[float]) -> list[str]:
    """As DICOM writes decimal numbers: at most 16 characters."""
    return [f"{value:.9f}"[:16] for value in values]


def write(folder: Path, data_sets: Iterable[Dataset], stem: str = "IM") -> Path:
    """Write the slices to a new folder, under names that do not follow their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(data_sets):
        data.save_as(folder / f"{stem}{(number * 7) % 1000:04d}.dcm", enforce_file_format=True)
    return folder


def series(folder: Path, change: Change | None = None) -> Path:
    """A sound series, each slice changed by ``change(data_set, number)``."""
    data_sets = slices()
    for number, data in enumerate(data_sets):
        if change is not None:
            change(data, number)
    return write(folder / "series", data_sets)


def enhanced() -> Dataset:
    """The slices as one enhanced multi-frame file, some facts shared and some for each frame."""
    data = _image(EnhancedMRImageStorage, picture().transpose(2, 1, 0))
    singles = slices()
    data.SeriesInstanceUID = singles[0].SeriesInstanceUID
    data.StudyInstanceUID = singles[0].StudyInstanceUID
    data.FrameOfReferenceUID = singles[0].FrameOfReferenceUID
    data.NumberOfFrames = len(singles)
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = singles[0].PixelSpacing, "1"
    orientation.ImageOrientationPatient = singles[0].ImageOrientationPatient
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    items = [_frame_item(single, number) for number, single in enumerate(singles)]
    data.PerFrameFunctionalGroupsSequence = items
    return data


def _frame_item(single: Dataset, number: int) -> Dataset:
    item, place, scaling, content = Dataset(), Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = single.ImagePositionPatient
    scaling.RescaleSlope, scaling.RescaleIntercept, scaling.RescaleType = "1", "0", "US"
    content.StackID, content.InStackPositionNumber = "1", number + 1
    content.DimensionIndexValues = [1, number + 1]
    item.PlanePositionSequence, item.FrameContentSequence = [place], [content]
    item.PixelValueTransformationSequence = [scaling]
    return item
