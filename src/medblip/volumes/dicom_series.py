"""A DICOM series as one volume: copies dropped, frames stacked, decoded and scaled."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.assumed_orientation import parse_assumption, unused_assumption
from medblip.volumes.dicom_file import DicomFile
from medblip.volumes.dicom_folder import chosen_series, matching, parse_files
from medblip.volumes.dicom_format import PixelFormat, pixel_format
from medblip.volumes.dicom_frames import Frame, frames_of
from medblip.volumes.dicom_pixels import stored_frames
from medblip.volumes.dicom_stack import stack
from medblip.volumes.extent import check_extent
from medblip.volumes.header_affine import check_affine
from medblip.volumes.limits import ReadLimits
from medblip.volumes.locating import LocatedFile
from medblip.volumes.volume import StoredVolume, Volume, keeps_whole_numbers
from medblip.volumes.voxel_checks import check_whole_numbers, checked_voxels


class DicomSeries:
    """One series, its files in memory.

    Args:
        name: of the folder, or of the only file, for messages.
        files: candidates.
        pattern: glob for the names of the series' own files; empty takes all.
        series: SeriesInstanceUID or the hash that messages give it, where there are several.
        limits: on the bytes of all files together.

    Raises:
        InputError: ``missing-file``, ``several-series``, ``broken-dicom``, ``not-a-volume``,
            ``too-large``.
        OSError: a file cannot be read.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[LocatedFile],
        *,
        pattern: str = "",
        series: str = "",
        limits: ReadLimits,
    ) -> None:
        self.name = name
        images, self._notes = parse_files(matching(files, pattern, name), name, limits)
        self._files = chosen_series(images, series, name)

    def sha256(self) -> str:
        """One hash over the hashes of the series' files; their names and order do not matter."""
        return hashlib.sha256("".join(sorted(f.sha256 for f in self._files)).encode()).hexdigest()

    def read(
        self, volume_index: int | None, assume_orientation: str | None, limits: ReadLimits
    ) -> StoredVolume:
        """The series as a volume ``(column, row, slice)``; see ``read_volume``.

        Raises:
            InputError: a code for each fault.
            UsageError: ``bad-orientation``, ``missing-extra``.
        """
        assumption = parse_assumption(assume_orientation)
        if volume_index not in (None, 0):
            raise InputError(
                self.name,
                f"volume index {volume_index} was asked for; a series is read as one volume",
                "leave the index out",
                code="bad-volume-index",
            )
        files, copies = _without_copies(self._files, self.name)
        pixels = _common_format(files, self.name)
        _check_size(files, pixels, self.name, limits)
        stacked = stack([frame for file in files for frame in frames_of(file)], self.name)
        shape = (pixels.columns, pixels.rows, len(stacked.frames))
        check_affine(stacked.affine, self.name)
        check_extent(shape, stacked.affine, self.name, limits)
        array, doubts = _voxels(stacked.frames, pixels, self.name)
        unused = unused_assumption(stacked.affine, assumption, self.name)
        findings = (*self._notes, *copies, *stacked.findings, *doubts, *unused)
        if array.dtype.kind in "iu":
            first = stacked.frames[0]
            volume = Volume(array, stacked.affine, self.name, findings)
            stored = StoredVolume(volume, first.slope, first.intercept)
            check_whole_numbers(stored)
            return stored
        array, more = checked_voxels(array, self.name, limits.max_nonfinite_fraction)
        return StoredVolume(Volume(array, stacked.affine, self.name, (*findings, *more)))


def _without_copies(
    files: Sequence[DicomFile], name: str
) -> tuple[list[DicomFile], tuple[Finding, ...]]:
    """Files of one image, if their pixels are the same too, count once."""
    first: dict[str, DicomFile] = {}
    for file in files:
        kept = first.setdefault(file.values.fingerprint("SOPInstanceUID"), file)
        if kept is not file and kept.values.raw("PixelData") != file.values.raw("PixelData"):
            raise InputError(
                name,
                "two files carry the same SOPInstanceUID and different pixels; expected one of "
                "them",
                "remove the wrong one",
                code="conflicting-copies",
            )
    dropped = len(files) - len(first)
    if not dropped:
        return list(files), ()
    note = f"{dropped} file(s) are copies of another image of the series and are not used"
    return list(first.values()), (Finding("duplicate-files", "note", name, note),)


def _common_format(files: Sequence[DicomFile], name: str) -> PixelFormat:
    formats = [pixel_format(file) for file in files]
    usual = Counter(formats).most_common(1)[0][0]
    others = sum(found != usual for found in formats)
    if others:
        raise InputError(
            name,
            f"{others} of {len(files)} files have another size or type of pixels than the "
            f"{usual.columns}x{usual.rows} of the rest; expected one stack (a localizer lies among "
            "them)",
            "choose the slices of one stack, for example by a pattern of file names",
            code="mixed-geometry",
        )
    return usual


def _check_size(
    files: Sequence[DicomFile], pixels: PixelFormat, name: str, limits: ReadLimits
) -> None:
    counts = [file.values.count("NumberOfFrames") or 1 for file in files]
    if len(files) > 1 and max(counts) > 1:
        raise InputError(
            name,
            f"holds {len(files)} files of several frames each; expected one such file",
            "choose one by a pattern of file names",
            code="several-volumes",
        )
    voxels = pixels.rows * pixels.columns * sum(counts)
    if voxels > limits.max_voxels:
        raise InputError(
            name,
            f"announces {sum(counts)} slices of {pixels.columns}x{pixels.rows} pixels; expected at "
            f"most {limits.max_voxels:,} voxels",
            "check the files, or raise ReadLimits.max_voxels",
            code="too-large",
        )


def _voxels(
    frames: Sequence[Frame], pixels: PixelFormat, name: str
) -> tuple[NDArray[Any], tuple[Finding, ...]]:
    """``(column, row, slice)``: as stored where all slices share one scale, else scaled."""
    scales = {(frame.slope, frame.intercept) for frame in frames}
    whole_numbers = len(scales) == 1 and keeps_whole_numbers(pixels.dtype, *next(iter(scales)))
    kept = pixels.dtype.newbyteorder("=") if whole_numbers else np.dtype(np.float32)
    array = np.empty((len(frames), pixels.rows, pixels.columns), dtype=kept)
    beyond = False
    for slice_, frame, stored in zip(array, frames, stored_frames(frames, pixels), strict=True):
        if pixels.bits_used < pixels.bits:
            low, high = _range(pixels)
            beyond |= bool(stored.min() < low or stored.max() > high)
        if whole_numbers or (frame.slope, frame.intercept) == (1.0, 0.0):
            slice_[...] = stored
        else:
            slice_[...] = stored * np.float64(frame.slope) + frame.intercept
    array = array.transpose(2, 1, 0)
    if not beyond:
        return array, ()
    problem = f"pixels go beyond the {pixels.bits_used} bits that BitsStored announces"
    fix = "check the picture for speckles, which old overlays leave"
    return array, (Finding("bits-beyond-stored", "warning", name, problem, fix),)


def _range(pixels: PixelFormat) -> tuple[int, int]:
    half = 1 << (pixels.bits_used - 1)
    return (-half, half - 1) if pixels.signed else (0, 2 * half - 1)
