"""What a scan's file name says: its extension, and the names of the other half of a pair."""

from __future__ import annotations

_HALVES = {".hdr": ".img", ".img": ".hdr"}
SCAN_EXTENSIONS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".mgh", ".mgz")


def extension(name: str) -> str:
    """The extension in lower case, with the one before ``.gz``: ``.nii.gz``, ``.img``."""
    suffixes = name.lower().split(".")[1:]
    if not suffixes:
        return ""
    return ".".join(["", *suffixes[-2:]]) if suffixes[-1] == "gz" else f".{suffixes[-1]}"


def partner_names(name: str) -> list[str]:
    """Names that the other half of a .hdr/.img pair may have, likeliest first; else empty."""
    own = extension(name)
    other = _HALVES.get(own.removesuffix(".gz"))
    if other is None:
        return []
    stem = name[: -len(own)]
    return [stem + other, stem + other + ".gz", stem + other.upper()]
