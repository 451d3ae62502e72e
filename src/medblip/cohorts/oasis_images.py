"""The images of an OASIS download: discs or one flat folder, loose or in archives, by name only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medblip.cohorts.collecting import Collector, Image
from medblip.cohorts.copies import Copies, ImageFile
from medblip.cohorts.download_files import DownloadFiles, list_archive
from medblip.cohorts.oasis_names import Named, NameRule, split_suffix
from medblip.cohorts.oasis_options import OasisOptions
from medblip.cohorts.vendor_tables import TABLE_SUFFIXES
from medblip.errors import InputError

_FOREIGN = {"OASIS1": "OAS2_", "OASIS2": "OAS1_"}  # what the other cohort's sessions start with


@dataclass(frozen=True)
class OasisImage:
    """One image with what its name says.

    Attributes:
        stem: path without its suffix.
        suffixes: of the files it consists of.
        named: session, kind and so on; None for a stray file.
    """

    stem: str
    suffixes: tuple[str, ...]
    named: Named | None

    @property
    def path(self) -> str:
        """Its file, or the header of its pair if that is there."""
        return f"{self.stem}{self.suffixes[0]}"

    @property
    def key(self) -> tuple[str, str]:
        """Session and name: the same image, wherever it lies."""
        return (self.named.session if self.named else "", self.stem.rsplit("/", 1)[-1].lower())

    @property
    def lacks(self) -> str:
        """Suffix of the missing half of a pair, or empty."""
        other = {".hdr": ".img", ".img": ".hdr"}.get(self.suffixes[0], "")
        return "" if len(self.suffixes) > 1 else other

    @property
    def files(self) -> ImageFile:
        """For comparing it with another."""
        return ImageFile(self.path, f"{self.stem}{self.suffixes[-1]}")

    def as_image(self) -> Image:
        named = self.named or Named("")
        form = "analyze" if self.suffixes[0] in (".hdr", ".img") else "nifti"
        return Image(self.path, named.run, named.kind, form, named.orientation)


@dataclass
class OasisScans:
    """What the download holds, sorted out.

    Attributes:
        sessions: usable images, best first, by session.
    """

    collector: Collector
    options: OasisOptions
    sessions: dict[str, list[OasisImage]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._copies = Copies(self.collector)

    def add(self, files: DownloadFiles, rule: NameRule) -> None:
        """List loose files, then what archives hold beyond them."""
        self._note_unread(files.loose)
        strays = self._add_images(_images(files.loose, rule))
        for archive in files.archives:
            strays += self._add_archive(archive, rule)
        self._judge_strays(strays)
        for images in self.sessions.values():
            images.sort(key=self._preference)

    def _add_archive(self, archive: str, rule: NameRule) -> list[OasisImage]:
        try:
            names = list_archive(self.collector.root, archive)
        except InputError as error:
            self.collector.refuse([archive], error)
            return []
        images = _images(names, rule)
        scans = [image for image in images if image.named and image.named.session]
        known = self._copies.first
        new = [image for image in scans if image.key not in known]
        if self._copies.are_unpacked(archive, [image.key for image in scans]):
            return []
        if not archive.lower().endswith(".zip"):
            problem = f"{len(new)} scan(s) are read out of a tar archive, which is slow"
            self.collector.note("slow-archive", "note", archive, problem, "unpack it")
        return self._add_images(image for image in images if image.key not in known)

    def _add_images(self, images: Iterable[OasisImage]) -> list[OasisImage]:
        """Take the images that names tell apart and return the strays."""
        strays, others = [], Counter[str]()
        for image in images:
            if image.named is None:
                strays.append(image)
            elif not image.named.session:
                others["label-map"] += 1
            elif image.named.kind not in self.options.kinds:
                others["kind-not-wanted"] += 1
            elif image.lacks:
                self._refuse_half(image)
            elif self._copies.is_first(image.key, image.files):
                self.sessions.setdefault(image.named.session, []).append(image)
        said = {"label-map": "label map(s), no scans", "kind-not-wanted": "of a kind left out"}
        for code, count in others.items():
            self.collector.note(code, "note", "images", f"{count} image(s) are {said[code]}")
        return strays

    def _judge_strays(self, strays: list[OasisImage]) -> None:
        """A stray that equals a run of its folder is a copy; any other is a scan we cannot use."""
        foreign = _FOREIGN[self.collector.cohort]
        others = [stray.path for stray in strays if foreign in stray.stem.upper()]
        if others:
            problem = f"{len(others)} image(s) of the other OASIS are not read, e.g. {others[0]}"
            self.collector.note("other-cohort-image", "note", others[0], problem)
        for stray in (stray for stray in strays if foreign not in stray.stem.upper()):
            folder = PurePosixPath(stray.stem).parent
            known = self._copies.first.values()
            beside = [image for image in known if PurePosixPath(image.path).parent == folder]
            if any(self._copies.is_copy(stray.files, image) for image in beside):
                continue
            problem = "the name is that of no run or processed image, so it is not known which"
            fix = "delete it, or rename it to the run it is"
            error = InputError(stray.path, problem, fix, code="stray-file")
            self.collector.refuse([stray.path], error)

    def _refuse_half(self, image: OasisImage) -> None:
        partner = f"{image.stem.rsplit('/', 1)[-1]}{image.lacks}"
        problem = f"its partner {partner} is missing; expected both files of the pair"
        fix = "copy the partner into the same folder"
        error = InputError(image.path, problem, fix, code="missing-partner")
        self.collector.refuse([image.path], error)

    def _preference(self, image: OasisImage) -> tuple[int, int, str]:
        named = image.named or Named("")
        return (self.options.kinds.index(named.kind), named.run, image.path)

    def _note_unread(self, paths: Iterable[str]) -> None:
        """Texts beside the scans hold age and CDR; the table says the same, so none is opened."""
        ends = Counter(PurePosixPath(path).suffix.lower() for path in paths)
        unread = {
            end or "without suffix": count
            for end, count in sorted(ends.items())
            if end not in (".hdr", ".img", ".nii", ".gz", *TABLE_SUFFIXES)
        }
        if unread:
            listed = ", ".join(f"{count} {end}" for end, count in unread.items())
            problem = f"files that are neither tables nor images are not opened: {listed}"
            self.collector.note("unread-file", "note", "files", problem)


def tables_of(files: DownloadFiles, root: Path) -> list[Path]:
    """The table files among ``files``."""
    return [root / path for path in files.loose if path.lower().endswith(TABLE_SUFFIXES)]


def _images(paths: Iterable[str], rule: NameRule) -> list[OasisImage]:
    """Image files by what they are called, the halves of a pair together, in the given order."""
    suffixes: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        stem, suffix = split_suffix(path)
        if suffix:
            kind = "pair" if suffix in (".hdr", ".img") else suffix
            suffixes.setdefault((stem, kind), []).append(path[len(stem) :])
    images = []
    for (stem, _), ends in suffixes.items():
        named = rule(stem, ends[0].lower())
        images.append(OasisImage(stem, tuple(sorted(ends, key=str.lower)), named))
    return images
