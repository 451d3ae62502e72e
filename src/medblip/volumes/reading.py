"""One scan from disk: every claim of its files is checked before it is believed."""

from __future__ import annotations

import os

from medblip.volumes.limits import ReadLimits
from medblip.volumes.scan_sources import open_scan
from medblip.volumes.volume import Volume


def read_volume(
    path: str | os.PathLike[str],
    *,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    root: str | os.PathLike[str] | None = None,
    limits: ReadLimits | None = None,
    files: str = "",
    series: str = "",
) -> Volume:
    """Read one 3D scan.

    NIfTI (.nii, .nii.gz, a .hdr/.img pair), Analyze (a pair), MGH (.mgh, .mgz), or a folder of
    DICOM slices; a component of the path may be a zip, tar or tar.gz archive.

    Args:
        path: the file or folder, e.g. ``scan.nii.gz``, ``DICOM/I123``, ``visit.zip/I123`` or
            ``DICOM/*_I123.dcm``.
        volume_index: which volume of a 4D file to take, from 0; needed only there.
        assume_orientation: direction in which each voxel axis grows, e.g. ``"RAS"``; used, with a
            warning, only where the header holds no orientation, which Analyze files never do.
            ``"RAS!"`` is used whatever an image file's header says, for vendors whose headers are
            known to be wrong; a DICOM series keeps its own.
        root: folder of the data set; a file that leads outside it is refused.
        limits: bounds on size, extent and broken voxels; ``ReadLimits()`` if None.
        files: glob for the names of a DICOM series' own files, where a folder holds others too.
        series: which DICOM series to take: its SeriesInstanceUID, or the hash that a message
            gave; needed only where a folder holds several.

    Returns:
        A ``Volume`` in the file's own voxel order (column, row, slice for DICOM), float32, scaled,
        finite, with findings for what was put right on the way.

    Raises:
        InputError: with a stable code for each fault; the message holds the file's name (or its
            path within ``root``), what was found, what was expected and the way out, and no value
            of a DICOM element that could lead to a person.
        UsageError: for an ``assume_orientation`` that is no orientation.
    """
    limits = limits or ReadLimits()
    source = open_scan(path, root=root, files=files, series=series, limits=limits)
    return source.read(volume_index, assume_orientation, limits).scaled()


def scan_sha256(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    files: str = "",
    series: str = "",
) -> str:
    """SHA-256 that stands for a scan: of its file, or over the hashes of all its files.

    A file inside an archive has the same hash as outside; so has a series under other file names.

    Raises:
        InputError: as ``read_volume``.
    """
    source = open_scan(path, root=root, files=files, series=series, limits=ReadLimits())
    return source.sha256()
