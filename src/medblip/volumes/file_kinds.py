"""Which file or pair of files holds the scan, and clear words for files that hold none."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import InputError
from medblip.volumes.locating import LocatedFile
from medblip.volumes.sniffing import FileKind, sniff_open_file

_NIFTI = "expected a NIfTI scan (.nii, .nii.gz or a .hdr/.img pair)"
_CONVERSION = {
    FileKind.ANALYZE: "convert it: nib-convert SCAN.img SCAN.nii.gz, then check left and right",
    FileKind.MGH: "convert it: nib-convert SCAN.mgz SCAN.nii.gz",
    FileKind.DICOM: "convert its folder: dcm2niix -z y FOLDER",
    FileKind.MINC: "convert it: nib-convert SCAN.mnc SCAN.nii.gz",
    FileKind.NRRD: "convert it to NIfTI, for example with 3D Slicer",
    FileKind.META_IMAGE: "convert it to NIfTI, for example with 3D Slicer",
}


@dataclass(frozen=True, slots=True)
class ScanFiles:
    """A NIfTI scan on disk: one file, or a header and its voxels (``voxels`` is None for one)."""

    header: LocatedFile
    voxels: LocatedFile | None = None

    @property
    def all(self) -> tuple[LocatedFile, ...]:
        return (self.header,) if self.voxels is None else (self.header, self.voxels)


def scan_files(located: LocatedFile) -> ScanFiles:
    """Find the files of the scan that ``located`` names.

    Raises:
        InputError: ``empty-file``, ``missing-partner``, ``wrong-extension``,
            ``unsupported-format`` or ``not-a-volume``.
        OSError: if the file cannot be opened.
    """
    if _extension(located) in (".img", ".img.gz"):
        return _checked_pair(_partner(located, ".hdr"), located)
    kind, gzipped = _kind(located)
    if kind is FileKind.NIFTI_HEADER and _extension(located) in (".hdr", ".hdr.gz"):
        return _checked_pair(located, _partner(located, ".img"))
    _refuse_other_kinds(kind, located, gzipped=gzipped)
    _check_extension(located, gzipped=gzipped)
    return ScanFiles(located)


def _kind(located: LocatedFile) -> tuple[FileKind, bool]:
    with located.path.open("rb") as file:
        return sniff_open_file(file)


def _extension(located: LocatedFile) -> str:
    name = located.path.name.lower()
    suffixes = name.split(".")[1:]
    if not suffixes:
        return ""
    return ".".join(["", *suffixes[-2:]]) if suffixes[-1] == "gz" else f".{suffixes[-1]}"


def _partner(located: LocatedFile, extension: str) -> LocatedFile:
    stem = located.path.name[: -len(_extension(located))]
    names = [stem + extension, stem + extension + ".gz", stem + extension.upper()]
    for name in names:
        if (partner := located.sibling(name)) is not None:
            return partner
    raise InputError(
        located.name,
        f"its partner {names[0]} is missing; expected both files of the pair side by side",
        "copy the partner into the same folder",
        code="missing-partner",
    )


def _checked_pair(header: LocatedFile, voxels: LocatedFile) -> ScanFiles:
    kind, gzipped = _kind(header)
    if kind is not FileKind.NIFTI_HEADER:
        _refuse_other_kinds(kind, header, gzipped=gzipped)
        raise InputError(
            header.name,
            "is a whole NIfTI file; expected the header of a pair, as its name says",
            "rename it to end in .nii",
            code="wrong-extension",
        )
    return ScanFiles(header, voxels)


def _refuse_other_kinds(kind: FileKind, located: LocatedFile, *, gzipped: bool) -> None:
    if kind is FileKind.NIFTI:
        return
    packed = " inside gzip" if gzipped and kind is not FileKind.GZIP else ""
    if kind is FileKind.EMPTY:
        raise InputError(
            located.name,
            f"is empty (0 bytes); {_NIFTI}",
            "copy or download the file again",
            code="empty-file",
        )
    if kind is FileKind.NIFTI_HEADER:
        raise InputError(
            located.name,
            f"is {kind.value}{packed}; {_NIFTI}",
            "rename it to end in .hdr and keep its .img beside it",
            code="wrong-extension",
        )
    if kind in _CONVERSION:
        raise InputError(
            located.name,
            f"is {kind.value}{packed}, which is not read yet; {_NIFTI}",
            _CONVERSION[kind],
            code="unsupported-format",
        )
    raise InputError(
        located.name,
        f"is {kind.value}{packed}, not a scan, whatever its name says; {_NIFTI}",
        "get the scan again from its source",
        code="not-a-volume",
    )


def _check_extension(located: LocatedFile, *, gzipped: bool) -> None:
    right = ".nii.gz" if gzipped else ".nii"
    if _extension(located) != right:
        content = "a gzipped NIfTI file" if gzipped else "an uncompressed NIfTI file"
        raise InputError(
            located.name,
            f"wrong extension: the content is {content}; expected a name ending in {right}",
            f"rename it to end in {right}",
            code="wrong-extension",
        )
