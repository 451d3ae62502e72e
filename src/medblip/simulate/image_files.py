"""Simulated images in the formats that the cohorts come in: NIfTI, Analyze 7.5, zips of them."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.simulate.pictures import Acquisition, Picture

SIMULATED = "SIMULATED"

Draw = Callable[[Acquisition], Picture]


class SimulatedFile(Protocol):
    """One or more files that are made together; picklable, and the same bytes every time."""

    def paths(self) -> list[str]:
        """Relative to the cohort's folder."""

    def contents(self, draw: Draw) -> Iterator[tuple[str, bytes]]:
        """Each path with its bytes."""


@dataclass(frozen=True)
class PlainFile:
    """Bytes that are known: a table, a text."""

    path: str
    data: bytes

    def paths(self) -> list[str]:
        return [self.path]

    def contents(self, draw: Draw) -> Iterator[tuple[str, bytes]]:
        yield self.path, self.data


@dataclass(frozen=True)
class NiftiFile:
    """``.nii`` or ``.nii.gz``.

    Attributes:
        path: relative to the cohort's folder.
        scan: what it shows.
        volumes: more than one makes it 4D.
        colour: red, green and blue instead of intensities, as screenshots are stored.
    """

    path: str
    scan: Acquisition
    volumes: int = 1
    colour: bool = False

    def paths(self) -> list[str]:
        return [self.path]

    def contents(self, draw: Draw) -> Iterator[tuple[str, bytes]]:
        picture = draw(self.scan)
        array: NDArray[np.generic] = picture.array
        if self.volumes > 1:
            array = np.stack([picture.array] * self.volumes, axis=-1)
        if self.colour:
            array = _as_rgb(picture.array)
        data = _nifti(array, picture.affine)
        yield self.path, gzip.compress(data, 6, mtime=0) if self.path.endswith(".gz") else data


@dataclass(frozen=True)
class AnalyzePair:
    """A big-endian ``.hdr`` and ``.img``, 4D with one volume, whose header has no orientation.

    Attributes:
        path: of the ``.hdr``.
        scan: what it shows.
        labels: a map of three tissues instead of intensities.
        also: paths of further copies of the pair.
        header_only: whether the ``.img`` was lost.
    """

    path: str
    scan: Acquisition
    labels: bool = False
    also: tuple[str, ...] = ()
    header_only: bool = False

    def paths(self) -> list[str]:
        headers = [self.path, *self.also]
        if self.header_only:
            return headers
        return [name for path in headers for name in (path, f"{path.removesuffix('.hdr')}.img")]

    def contents(self, draw: Draw) -> Iterator[tuple[str, bytes]]:
        picture = draw(self.scan)
        array = _tissues(picture.array) if self.labels else picture.array
        header = nib.AnalyzeHeader(endianness=">")
        header.set_data_dtype(np.dtype(">i2"))
        header.set_data_shape((*array.shape, 1))
        header.set_zooms((*_edges(picture.affine), 1.0))
        header["descrip"] = SIMULATED.encode()
        voxels = array.astype(">i2").tobytes(order="F")
        for path in self.paths():
            yield path, bytes(header.binaryblock) if path.endswith(".hdr") else voxels


@dataclass(frozen=True)
class ZipOfFiles:
    """A zip with other simulated files inside; their paths are those within the zip.

    Attributes:
        path: of the zip.
        members: what is in it.
        cut: bytes that are missing at its end.
    """

    path: str
    members: tuple[SimulatedFile, ...]
    cut: int = 0

    def paths(self) -> list[str]:
        return [self.path]

    def contents(self, draw: Draw) -> Iterator[tuple[str, bytes]]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in self.members:
                for name, data in member.contents(draw):
                    # A ZipInfo of its own, since writestr(name) would note the time of the day.
                    info = zipfile.ZipInfo(name)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, data)
        data = buffer.getvalue()
        yield self.path, data[: len(data) - self.cut]


def _nifti(array: NDArray[np.generic], affine: NDArray[np.float64]) -> bytes:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = SIMULATED.encode()
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return bytes(image.to_bytes())


def _as_rgb(array: NDArray[np.int16]) -> NDArray[np.generic]:
    bytes_ = (array.clip(0, 1000) * (255 / 1000)).astype(np.uint8)
    colour = np.zeros(array.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name in ("R", "G", "B"):
        colour[name] = bytes_
    return colour


def _tissues(array: NDArray[np.int16]) -> NDArray[np.int16]:
    """1, 2 and 3 by intensity, as FAST's maps of fluid, gray and white matter."""
    shown = array[array > 0]
    limits = np.quantile(shown, [0.2, 0.6]) if shown.size else [1.0, 2.0]
    labels: NDArray[np.int16] = np.where(array > 0, 1 + np.digitize(array, limits), 0).astype(
        np.int16
    )
    return labels


def _edges(affine: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(edge) for edge in np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
