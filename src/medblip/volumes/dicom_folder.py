"""The DICOM images of a folder: which of its files they are, and which series is meant."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.dicom_file import DicomFile, is_dicom, parse_dicom
from medblip.volumes.dicom_values import broken
from medblip.volumes.file_names import extension
from medblip.volumes.limits import ReadLimits
from medblip.volumes.locating import LocatedFile

_MOST_FILES = 20_000
_LISTED = 6
# Beside the slices there may be lists of them, protocols and converted copies; never slices.
_OTHER_FILES = frozenset(
    (".json", ".xml", ".txt", ".csv", ".tsv", ".pdf", ".html", ".bval", ".bvec", ".nii", ".nii.gz",
     ".png", ".jpg", ".md", ".log", ".yaml", ".yml")
)  # fmt: skip


def matching(files: Sequence[LocatedFile], pattern: str, folder: str) -> list[LocatedFile]:
    """The files whose names match a pattern such as ``*_I12345.dcm``; hidden ones never do.

    Raises:
        InputError: ``no-matching-file`` if there is none, ``too-large`` if there are too many.
    """
    visible = [file for file in files if not file.file_name.startswith(".")]
    found = [f for f in visible if not pattern or fnmatch.fnmatchcase(f.file_name, pattern)]
    if not found:
        named = f" that matches {pattern}" if pattern else ""
        raise InputError(
            folder,
            f"is a folder without a file{named}; expected a scan or the slices of a series",
            "name a scan's file, or the folder that holds the slices, and check the pattern",
            code="no-matching-file",
        )
    if len(found) > _MOST_FILES:
        raise InputError(
            folder,
            f"holds {len(found):,} files; expected at most {_MOST_FILES:,}",
            "name the folder of one series, or give a pattern of its file names",
            code="too-large",
        )
    return found


def parse_files(
    files: Sequence[LocatedFile], folder: str, limits: ReadLimits
) -> tuple[list[DicomFile], tuple[Finding, ...]]:
    """Parse all images among the files; a slice that is damaged refuses them all.

    Raises:
        InputError: ``broken-dicom``, ``not-a-volume`` if none of them is an image, ``too-large``.
        OSError: a file cannot be read.
    """
    images, others, total = [], 0, 0
    for file in files:
        if extension(file.file_name) in _OTHER_FILES or file.file_name.upper() == "DICOMDIR":
            others += 1
            continue
        total += file.size
        if total > limits.max_inflated_bytes:
            raise InputError(
                folder,
                f"its files hold more than {limits.max_inflated_bytes:,} bytes",
                "name the folder of one series, or raise ReadLimits.max_inflated_bytes",
                code="too-large",
            )
        with file.open() as stream:
            content = stream.read()
        if not is_dicom(content):
            raise broken(file.name, "is no DICOM file, though it lies among slices")
        image = parse_dicom(content, file.name)
        if image.is_image:
            images.append(image)
        else:
            others += 1
    if not images:
        raise InputError(
            folder,
            f"holds no DICOM image among its {len(files)} file(s); expected slices",
            "name the folder that holds the slices themselves",
            code="not-a-volume",
        )
    note = f"{others} file(s) that are no DICOM images are ignored"
    return images, (Finding("ignored-files", "note", folder, note),) if others else ()


def chosen_series(images: Sequence[DicomFile], series: str, folder: str) -> list[DicomFile]:
    """The images of the one series, or of that which is asked for.

    Args:
        images: of all series.
        series: a SeriesInstanceUID, or the hash by which messages call it; empty for the only one.
        folder: name for messages.

    Raises:
        InputError: ``several-series``, or ``missing-file`` if none is called so.
    """
    names = sorted({image.series for image in images})
    if series:
        called = {series.lower(), hashlib.sha256(series.encode()).hexdigest()[:12]}
        names = [name for name in names if name in called]
        if not names:
            raise InputError(
                folder,
                f"holds no such series; expected one of: {_described(images)}",
                "choose one of them",
                code="missing-file",
            )
    if len(names) > 1:
        raise InputError(
            folder,
            f"holds {len(names)} series: {_described(images)}; expected one",
            f"choose one with --series {names[0]} (series='{names[0]}'), or its files by a pattern",
            code="several-series",
        )
    return [image for image in images if image.series == names[0]]


def _described(images: Sequence[DicomFile]) -> str:
    """Each series by its hash, number of files and picture size; no text from the files."""
    names = sorted({image.series for image in images})
    parts = []
    for name in names[:_LISTED]:
        own = [image for image in images if image.series == name]
        size = "x".join(str(own[0].values.integer(key)) for key in ("Columns", "Rows"))
        parts.append(f"{name} ({len(own)} files of {size} pixels)")
    return ", ".join(parts) + (", ..." if len(names) > _LISTED else "")
