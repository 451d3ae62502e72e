"""What was delivered for an MRI session: a zip of NIfTI or DICOM, or the tree a user made of it.

``NACCMRFI`` names the zip of the original files (``mri1234.zip``, or a name that starts with the
NACCID). A delivery is known by that name, whether it is still a zip or a folder somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medblip.cohorts.collecting import Collector
from medblip.cohorts.download_files import DownloadFiles, archive_mark, list_archive, read_small
from medblip.cohorts.nacc_series import Judgement, judge, missing_keys, parse_sidecar, preference
from medblip.errors import InputError

_NAMED = re.compile(r"mri[0-9]+(?:ni)?|nacc[0-9]{6}.*", re.IGNORECASE)
_IMAGE = re.compile(r"(?P<stem>.+)\.nii(?:\.gz)?", re.IGNORECASE)
_DICOM = re.compile(r"dcm|ima|", re.IGNORECASE)  # slices often have no suffix at all


@dataclass
class Delivery:
    """One zip, or one folder.

    Attributes:
        name: of the zip without its suffix, or of the folder, in lower case.
        place: path of the zip or folder, relative to the download.
        archive: the zip's path; empty for a folder.
        files: paths of what is in it, relative to the download.
        mark: the same for two zips of equal contents; empty for a folder.
        damaged: whether nothing of it can be read, for which it was refused.
    """

    name: str
    place: str
    archive: str = ""
    files: list[str] = field(default_factory=list)
    mark: str = ""
    damaged: bool = False

    @property
    def images(self) -> list[tuple[str, str]]:
        """Paths of the NIfTI files, without and with their suffix."""
        found = [(m["stem"], path) for path in self.files if (m := _IMAGE.fullmatch(path))]
        return sorted(found)

    @property
    def slices(self) -> list[str]:
        """Paths of the files that may be DICOM slices by their names."""
        return [p for p in self.files if _DICOM.fullmatch(PurePosixPath(p).suffix.lstrip("."))]

    @property
    def is_dicom(self) -> bool:
        """Whether it holds DICOM slices and no NIfTI file."""
        return not self.images and bool(self.slices)

    @property
    def is_named(self) -> bool:
        """Whether it goes by a name that NACC gives to deliveries."""
        return bool(self.archive) or _NAMED.fullmatch(self.name) is not None

    def inside(self, path: str) -> str:
        """A path without the delivery's own place."""
        return path.removeprefix(f"{self.place}/")


@dataclass(frozen=True)
class Series:
    """One NIfTI file with what its sidecar says, or a folder of DICOM slices with their header.

    Attributes:
        path: relative to the download.
        stem: the path without suffix.
        facts: the sidecar, or what one would say; empty if there is none that can be read.
        judgement: whether it is a T1-weighted head.
        format: ``nifti`` or ``dicom``.
        first_file: of a folder, the file whose bytes stand for it; empty for a file.
    """

    path: str
    stem: str
    facts: dict[str, object]
    judgement: Judgement
    format: str = "nifti"
    first_file: str = ""

    @property
    def preference(self) -> tuple[int, int, float, str]:
        return preference(self.facts, self.stem.rsplit("/", 1)[-1], self.path)


def deliveries(
    files: DownloadFiles, known: Collection[str], collector: Collector
) -> dict[str, list[Delivery]]:
    """Deliveries by name; a zip that cannot be listed is refused.

    Args:
        files: of the download.
        known: names that the MRI table gives, in lower case, with and without the NIfTI mark.
        collector: of the reader.
    """
    found: dict[str, Delivery] = {}
    for path in files.loose:
        name, place = _folder_of(path, known)
        found.setdefault(place, Delivery(name, place)).files.append(path)
    for archive in files.archives:
        name = PurePosixPath(archive).stem.lower()
        try:
            names = list_archive(collector.root, archive)
            mark = archive_mark(collector.root, archive)
        except InputError as error:
            collector.refuse([archive], error)
            found[archive] = Delivery(name, archive, archive, damaged=True)
        else:
            found[archive] = Delivery(name, archive, archive, names, mark)
    by_name: dict[str, list[Delivery]] = {}
    for delivery in found.values():
        by_name.setdefault(delivery.name, []).append(delivery)
    return by_name


def without_copies(parts: Iterable[Delivery], collector: Collector) -> list[Delivery]:
    """Deliveries in order of their places; a zip of the same files as an earlier one is noted."""
    first: dict[str, Delivery] = {}
    kept = []
    for part in sorted(parts, key=lambda part: part.place):
        known = first.setdefault(part.mark or part.place, part)
        if known is part:
            kept.append(part)
            continue
        problem = f"the same files as {known.place}, which is read"
        collector.note("same-file-twice", "note", part.place, problem)
    return kept


def series_of(delivery: Delivery, collector: Collector) -> list[Series]:
    """Every NIfTI file of a delivery with its judgement; sidecars alone are warned of."""
    images = delivery.images
    sidecars = {path[: -len(".json")]: path for path in delivery.files if path.endswith(".json")}
    series = []
    for stem, path in images:
        facts, unreadable = _facts(delivery, sidecars.get(stem), collector)
        name = stem.rsplit("/", 1)[-1]
        found = Series(path, stem, facts, judge(facts, name))
        if found.judgement.verdict == "t1" and not unreadable:
            _note_missing(found, collector)
        series.append(found)
    lost = sorted(sidecars[stem] for stem in sidecars.keys() - {stem for stem, _ in images})
    if lost and (images or delivery.is_named) and not delivery.is_dicom:
        problem = f"{len(lost)} sidecar(s) have no image beside them, e.g. {lost[0]}"
        fix = "get the delivery again, or leave it so"
        collector.note("json-without-nifti", "warning", lost[0], problem, fix)
    return series


def note_others(delivery: Delivery, series: Iterable[Series], collector: Collector) -> None:
    """One note for all series of a delivery that are no 3D T1."""
    reasons = [s.judgement.reason for s in series if s.judgement.verdict == "other"]
    if reasons:
        listed = ", ".join(dict.fromkeys(reasons))[:200]
        problem = f"{len(reasons)} series are no 3D T1-weighted scan and are not read: {listed}"
        collector.note("other-series", "note", delivery.place, problem)


def _facts(
    delivery: Delivery, sidecar: str | None, collector: Collector
) -> tuple[dict[str, object], bool]:
    """A sidecar's facts, and whether there is one that cannot be read."""
    if sidecar is None:
        return {}, False
    try:
        data = read_small(collector.root, sidecar, delivery.archive)
        facts, mended = parse_sidecar(data, sidecar)
    except InputError as error:
        problem = f"{error.problem}; the image is judged by its name"
        fix = error.fix or "correct it or remove it"
        collector.note(error.code, "warning", sidecar, problem, fix)
        return {}, True
    if mended:
        problem = "bare nan or inf, which is no JSON, is read as missing"
        collector.note("json-not-a-number", "note", sidecar, problem)
    return facts, False


def _note_missing(series: Series, collector: Collector) -> None:
    if not series.facts:
        problem = "there is no sidecar, so only its name says that this is a T1-weighted scan"
        fix = "put the JSON file of dcm2niix beside it"
        collector.note("no-sidecar", "warning", series.path, problem, fix)
    elif lacking := missing_keys(series.facts):
        problem = f"its sidecar lacks {', '.join(lacking)}, which are not held against it"
        collector.note("sidecar-missing-keys", "note", series.path, problem)


def _folder_of(path: str, known: Collection[str]) -> tuple[str, str]:
    """Name and place of the delivery that a loose file belongs to: a folder the table knows, else
    the deepest one named like a delivery, else the one it lies in."""
    folders = path.split("/")[:-1]
    named = [index for index, folder in enumerate(folders) if _NAMED.fullmatch(folder)]
    table = [index for index, folder in enumerate(folders) if folder.lower() in known]
    index = (table or named or [len(folders) - 1])[-1]
    place = "/".join(folders[: index + 1])
    return (folders[index].lower() if folders else ""), place
