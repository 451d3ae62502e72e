"""One image of a LONI download (ADNI, AIBL) by the names of its folders and files only.

``<subject>/<series>/<YYYY-MM-DD_HH_MM_SS.0>/<S or I number>/..._I<image>.<dcm or nii>``: an image
is known by the number at the end of its file name, since the last folder is sometimes the series'
and one folder may hold the slices of two images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from medblip.cohorts.folders import Folder
from medblip.errors import InputError

_IMAGE = re.compile(r".*_I(?P<image>[0-9]+)\.(?P<type>dcm|nii|nii\.gz)", re.IGNORECASE)
_OTHER_TYPE = re.compile(r".*_I[0-9]+\.(?:img|mnc|v|nrrd|par)", re.IGNORECASE)
_SLICE_SUFFIXES = (".dcm", ".ima")
_IMAGE_SUFFIXES = (*_SLICE_SUFFIXES, ".nii", ".nii.gz", ".img", ".mnc")
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})_[0-9]{2}_[0-9]{2}_[0-9]{2}\.[0-9]+")
_NAME = re.compile(
    r"(?:ADNI|AIBL)_(?P<subject>[0-9]{3}_S_[0-9]+|[0-9]+)_(?P<modality>[A-Z]{2})_(?P<series>.+?)"
    r"_[Bb]r_(?P<raw>raw_)?.*"
)


@dataclass(frozen=True, slots=True)
class LoniImage:
    """One image: a NIfTI file, or the DICOM slices of one number in a folder.

    Attributes:
        subject: as the folder is called.
        image_id: number of the image, digits only; no two images of LONI share one.
        series: description, with ``_`` for what may not be in a folder's name.
        day: of the scan; None where the folders do not say it.
        modality: as in the file's name, e.g. ``MR``; empty if it does not say.
        original: whether the file's name says ``raw``, so not processed by ADNI.
        path: the file, or the folder of the slices, relative to the download.
        files: pattern of the slices' names in the folder; empty for a file.
        count: files it consists of.
        format: ``nifti`` or ``dicom``.
    """

    subject: str
    image_id: str
    series: str
    day: date | None
    modality: str
    original: bool
    path: str
    files: str
    count: int
    format: Literal["nifti", "dicom"]

    @property
    def where(self) -> str:
        """How findings call it."""
        return f"{self.path}/{self.files}" if self.files else self.path


def images_of(folder: Folder) -> Iterator[LoniImage]:
    """Images of one folder whose names say which they are."""
    slices: dict[str, list[str]] = {}
    for name in folder.names:
        match = _IMAGE.fullmatch(name)
        if match is None:
            continue
        if match["type"].lower() == "dcm":
            slices.setdefault(match["image"], []).append(name)
        else:
            yield _image(folder, match["image"], [name], "nifti")
    for number, names in slices.items():
        yield _image(folder, number, names, "dicom")


def misnamed(folder: Folder) -> Iterator[InputError]:
    """An error for each image of a folder that cannot be told or read; slices are one image."""
    slices = []
    for name in folder.names:
        if _IMAGE.fullmatch(name):
            continue
        if name.lower().endswith(_SLICE_SUFFIXES):
            slices.append(name)
        elif _OTHER_TYPE.fullmatch(name):
            problem = f"a {Path(name).suffix} file, expected DICOM (.dcm) or NIfTI (.nii)"
            fix = "download the image as NIfTI or DICOM"
            where = folder.path_of(name)
            yield InputError(where, problem, fix, code="unsupported-format")
        elif name.lower().endswith(_IMAGE_SUFFIXES):
            yield _unnamed(folder.path_of(name), 1)
    if slices:
        yield _unnamed(folder.path_of(f"*{Path(slices[0]).suffix}"), len(slices))


def _unnamed(where: str, count: int) -> InputError:
    problem = f"{count} file(s) whose name does not say which image it is"
    fix = "keep the name it was downloaded with, which ends in _I and the image's number"
    return InputError(where, problem, fix, code="unknown-name")


def _image(
    folder: Folder, number: str, names: list[str], form: Literal["nifti", "dicom"]
) -> LoniImage:
    parts = folder.relative.split("/")
    named = _NAME.fullmatch(names[0])
    subject, series = (named["subject"], named["series"]) if named else ("", "")
    day = None
    for position, part in enumerate(parts):
        match = _DAY.fullmatch(part)
        if match is not None and position >= 2:
            subject, series = parts[position - 2 : position]
            day = _day_of(match[1])
    return LoniImage(
        subject=subject,
        image_id=number.lstrip("0") or "0",
        series=series,
        day=day,
        modality=named["modality"] if named else "",
        original=bool(named and named["raw"]),
        path=folder.relative if form == "dicom" else folder.path_of(names[0]),
        files=f"*_I{number}{Path(names[0]).suffix}" if form == "dicom" else "",
        count=len(names),
        format=form,
    )


def _day_of(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:  # e.g. 0000-00-00: then a table must know the day
        return None
