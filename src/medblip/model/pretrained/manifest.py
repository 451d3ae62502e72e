"""A folder with a manifest, written last: whole by its hashes, or not whole by name."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from medblip.storage import sha256_of_file, write_json

MANIFEST_NAME = "manifest.json"


def write_manifest(
    folder: Path, manifest: str = MANIFEST_NAME, among: Collection[str] | None = None
) -> None:
    """List every file of ``folder`` with size and SHA-256; the folder counts as whole after it.

    Args:
        manifest: name of the file to write.
        among: list only files by these names; None lists all.
    """
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in sorted(folder.iterdir())
        if path.name != manifest and (among is None or path.name in among)
    }
    write_json(folder / manifest, {"version": 1, "files": files})


def differences(
    folder: Path, manifest: str = MANIFEST_NAME, among: Collection[str] | None = None
) -> list[str]:
    """What keeps ``folder`` from being whole, e.g. ``config.json is missing``; empty if nothing.

    Args:
        manifest: name of the file that lists the others.
        among: other files than these and the listed ones may lie there; None allows none.

    Every byte is hashed at every call: a size and a date can stay the same when a disk fails.
    Files that were added count too, since model loaders act on files by their names alone.
    """
    try:
        listed = json.loads((folder / manifest).read_text(encoding="utf-8"))
        expected = {
            name: (int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in listed["files"].items()
        }
    except FileNotFoundError:
        return [f"{manifest} is missing"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{manifest} is not readable"]
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if among is not None:
        present &= expected.keys() | set(among)
    found = [f"{name} is missing" for name in sorted(expected.keys() - present)]
    found += [
        f"{name} does not belong there" for name in sorted(present - expected.keys() - {manifest})
    ]
    found += [
        f"{name} is not as it was written"
        for name in sorted(expected.keys() & present)
        if not _is_as_listed(folder / name, *expected[name])
    ]
    return found


def _is_as_listed(path: Path, size: int, sha256: str) -> bool:
    try:
        return path.stat().st_size == size and sha256_of_file(path) == sha256
    except OSError:  # a failing disk, a folder of that name
        return False
