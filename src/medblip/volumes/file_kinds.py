"""Which file or pair of files holds the scan, and clear words for files that hold none."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import InputError
from medblip.volumes.file_names import extension, partner_names
from medblip.volumes.locating import LocatedFile
from medblip.volumes.sniffing import FileKind, sniff_open_file

_SCAN = "expected a scan (NIfTI, a .hdr/.img pair, MGH or DICOM)"
_CONVERSION = {
    FileKind.MINC: "convert it: nib-convert SCAN.mnc SCAN.nii.gz",
    FileKind.NRRD: "convert it to NIfTI, for example with 3D Slicer",
    FileKind.META_IMAGE: "convert it to NIfTI, for example with 3D Slicer",
}
_PAIRED = (FileKind.NIFTI_HEADER, FileKind.ANALYZE)
# Extensions of what is and what is not gzipped.
_EXTENSIONS: dict[FileKind, dict[bool, tuple[str, ...]]] = {
    FileKind.NIFTI: {False: (".nii",), True: (".nii.gz",)},
    FileKind.MGH: {False: (".mgh",), True: (".mgz", ".mgh.gz")},
}


@dataclass(frozen=True, slots=True)
class ScanFiles:
    """A scan in one file, or in a header and its voxels (``voxels`` is None for one file).

    ``kind`` is NIFTI, NIFTI_HEADER, ANALYZE, MGH or DICOM.
    """

    kind: FileKind
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
    own = extension(located.file_name)
    if own in (".img", ".img.gz"):
        return _checked_pair(_partner(located), located)
    kind, gzipped = sniff_file(located)
    if kind in _PAIRED and own in (".hdr", ".hdr.gz"):
        return _checked_pair(located, _partner(located))
    if kind is FileKind.DICOM and not gzipped:
        return ScanFiles(kind, located)
    _refuse_other_kinds(kind, located, gzipped=gzipped)
    _check_extension(kind, located, gzipped=gzipped)
    return ScanFiles(kind, located)


def sniff_file(located: LocatedFile) -> tuple[FileKind, bool]:
    """What a file holds, looking inside gzip, and whether it is gzipped."""
    with located.open() as file:
        return sniff_open_file(file)


def _partner(located: LocatedFile) -> LocatedFile:
    names = partner_names(located.file_name)
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
    kind, gzipped = sniff_file(header)
    if kind not in _PAIRED:
        _refuse_other_kinds(kind, header, gzipped=gzipped)
        raise InputError(
            header.name,
            f"is {kind.value}; expected the header of a pair, as its name says",
            "rename it as what it is",
            code="wrong-extension",
        )
    return ScanFiles(kind, header, voxels)


def _refuse_other_kinds(kind: FileKind, located: LocatedFile, *, gzipped: bool) -> None:
    if kind in _EXTENSIONS:
        return
    packed = " inside gzip" if gzipped and kind is not FileKind.GZIP else ""
    if kind is FileKind.EMPTY:
        raise InputError(
            located.name,
            f"is empty (0 bytes); {_SCAN}",
            "copy or download the file again",
            code="empty-file",
        )
    if kind in _PAIRED:
        raise InputError(
            located.name,
            f"is {kind.value}{packed}; {_SCAN}",
            "rename it to end in .hdr and keep its .img beside it",
            code="wrong-extension",
        )
    if kind in _CONVERSION or kind is FileKind.DICOM:
        raise InputError(
            located.name,
            f"is {kind.value}{packed}, which is not read; {_SCAN}",
            _CONVERSION.get(kind, "unpack it with gunzip"),
            code="unsupported-format",
        )
    raise InputError(
        located.name,
        f"is {kind.value}{packed}, not a scan, whatever its name says; {_SCAN}",
        "get the scan again from its source",
        code="not-a-volume",
    )


def _check_extension(kind: FileKind, located: LocatedFile, *, gzipped: bool) -> None:
    right = _EXTENSIONS[kind][gzipped]
    if extension(located.file_name) not in right:
        content = f"{kind.value}, {'gzipped' if gzipped else 'uncompressed'}"
        raise InputError(
            located.name,
            f"wrong extension: the content is {content}; expected a name ending in {right[0]}",
            f"rename it to end in {right[0]}",
            code="wrong-extension",
        )
