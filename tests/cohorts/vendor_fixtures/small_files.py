"""Small real files in the vendors' formats: NIfTI, big-endian Analyze, zips, tar.gz, workbooks."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

VOXEL_MM = 8.0
SHAPE = (24, 28, 20)  # three different lengths, so that a turned axis cannot go unnoticed


def head(seed: int) -> NDArray[np.int16]:
    """A lopsided ellipsoid in RAS order; no two axes or directions look alike."""
    rng = np.random.default_rng(seed)
    points = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    inside = ((points / np.array([9.0, 12.0, 8.0])) ** 2).sum(axis=-1) < 1
    slopes = 300 + 12 * points[..., 0] + 6 * points[..., 1] + 3 * points[..., 2]
    texture = rng.uniform(0.9, 1.1, SHAPE)
    voxels: NDArray[np.int16] = np.where(inside, slopes * texture, 0).astype(np.int16)
    return voxels


def nifti(seed: int) -> bytes:
    """A whole ``.nii`` with an affine, voxels in RAS order."""
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = -VOXEL_MM * (np.array(SHAPE) - 1) / 2
    image = nib.Nifti1Image(head(seed), affine)
    image.set_sform(affine, code=1)
    return bytes(image.to_bytes())


def nifti_gz(seed: int) -> bytes:
    return gzip.compress(nifti(seed), 1, mtime=0)


def analyze(path: Path, seed: int, axes: str = "ASL") -> Path:
    """A big-endian Analyze 7.5 pair, 4D with one volume, whose header holds no orientation.

    Args:
        path: the ``.hdr`` or ``.img``; both are written.
        seed: which head.
        axes: how the voxel axes grow, e.g. ``ASL``: anterior, superior, left.
    """
    transform = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    voxels = nib.orientations.apply_orientation(head(seed), transform)
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    header.set_data_shape((*voxels.shape, 1))
    header.set_zooms((VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0))
    write(path.with_suffix(".hdr"), header.binaryblock)
    write(path.with_suffix(".img"), voxels.astype(">i2").tobytes(order="F"))
    return path.with_suffix(".hdr")


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def csv_file(path: Path, rows: Sequence[Mapping[str, str]], delimiter: str = ",") -> Path:
    """A table with the first row's names as header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write(path, text.getvalue().encode())


def workbook(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """The same as an ``.xlsx``: numbers as numbers, empty cells empty."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append([_cell(text) for text in row.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def zip_file(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def tar_gz(path: Path, folder: Path) -> Path:
    """``folder`` packed with its own name as the archive's only top folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=folder.name)
    return path


def sidecar(**values: Any) -> bytes:
    """JSON as dcm2niix writes it; ``nan`` and infinities become bare words, as met in the wild."""
    text = json.dumps(values, indent=1)
    return text.replace("NaN", "nan").replace("Infinity", "inf").encode()


def _cell(text: str) -> object:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
