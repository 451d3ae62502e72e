"""Make the virtual environment of the Makefile's targets; at once where it is whole already.

Only the standard library is used, since nothing is installed when this runs. A stamp file inside
the environment says what was installed; an environment whose installation was killed has the mark
`.unfinished` instead and is made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYPROJECT = PROJECT / "pyproject.toml"
UNFINISHED = ".unfinished"
PROBE_SECONDS = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the virtual environment")
    parser.add_argument("--dev", action="store_true", help="with the tools of `make test`")
    parser.add_argument("--torch-index", default="", help="index with torch builds for CPUs")
    options = parser.parse_args()
    # Absolute, but not resolved: a link to the environment stays a link.
    folder: Path = options.folder.absolute()
    if is_whole(folder, dev=options.dev):
        return 0
    with one_at_a_time():
        if is_whole(folder, dev=options.dev):  # made while this process waited
            return 0
        return install(folder, dev=options.dev, torch_index=options.torch_index)


def stamp(folder: Path, *, dev: bool) -> Path:
    """The file that says "installed"; its name changes with all that an installation depends on.

    A moved or copied clone gets another name too, since scripts and the editable installation hold
    absolute paths.
    """
    told = f"{sys.version_info[:2]} {folder} {PROJECT}".encode()
    key = hashlib.sha256(PYPROJECT.read_bytes() + told).hexdigest()[:12]
    return folder / f".installed-{'dev-' if dev else ''}{key}"


def is_whole(folder: Path, *, dev: bool) -> bool:
    # The interpreter is a link that dangles once the Python behind it is gone.
    scripts = (folder / "bin" / name for name in ("python", "medblip"))
    unfinished = (folder / UNFINISHED).exists()
    return stamp(folder, dev=dev).exists() and all(s.exists() for s in scripts) and not unfinished


def install(folder: Path, *, dev: bool, torch_index: str) -> int:
    """Make the environment, or bring a whole one up to date; the process's exit code."""
    started = time.monotonic()
    if not can_be_reused(folder):
        if not is_ours(folder):
            say(f"{folder} is in the way: it was not made by this Makefile and cannot be used.")
            say("Move it away, or choose another folder: make demo VENV=FOLDER")
            return 2
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Installing MedBLIP into {folder}; the first time takes some minutes.")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(".installed-*"):
        old.unlink()
    (folder / UNFINISHED).touch()
    for command in steps(folder, dev=dev, torch_index=torch_index):
        done = subprocess.run(command, cwd=PROJECT, stdin=subprocess.DEVNULL, env=pip_settings())
        if done.returncode != 0:
            say("The installation stopped; the reason stands above. Run the same command again.")
            return done.returncode
    for kind in {dev, False}:  # the tools come on top: with them, everything is there
        stamp(folder, dev=kind).touch()
    (folder / UNFINISHED).unlink()
    say(f"Installed in {time.monotonic() - started:.0f} s.")
    return 0


def can_be_reused(folder: Path) -> bool:
    """Whether pip can work in it: not left half made, of this Python, still in its first place."""
    python = folder / "bin" / "python"
    if (folder / UNFINISHED).exists() or not python.exists():
        return False
    # pip's own script holds the absolute path that the environment was made under.
    script = folder / "bin" / "pip"
    if not script.exists() or str(folder) not in script.read_text(encoding="utf-8"):
        return False
    told = "import sys, pip; print(*sys.version_info[:2])"
    found = subprocess.run([python, "-c", told], capture_output=True, text=True, check=False)
    return found.stdout.split() == [str(part) for part in sys.version_info[:2]]


def is_ours(folder: Path) -> bool:
    """Whether it may be deleted: absent, empty, or marked as made here."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    marks = [UNFINISHED, *(path.name for path in folder.glob(".installed-*"))]
    return not any(folder.iterdir()) or any((folder / mark).exists() for mark in marks)


def steps(folder: Path, *, dev: bool, torch_index: str) -> Iterator[list[str]]:
    """The commands of an installation, each made when the one before has succeeded."""
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install"]
    if not (folder / "bin" / "pip").exists():
        yield [sys.executable, "-m", "venv", str(folder)]
    if wants_cpu_torch() and answers(torch_index):
        # Alone and without dependencies, so that nothing but torch is taken from that index.
        yield [*pip, "--no-deps", "--extra-index-url", torch_index, torch_requirement()]
    yield [*pip, "--editable", f"{PROJECT}[dev]" if dev else str(PROJECT)]
    yield [str(folder / "bin" / "python"), "-c", "import torch, medblip.cli"]


def wants_cpu_torch() -> bool:
    """On Linux PyPI's torch carries several GB of CUDA, for nothing where there is no GPU."""
    no_gpu = sys.platform == "linux" and shutil.which("nvidia-smi") is None
    return no_gpu and not os.environ.get("PIP_NO_INDEX")


def answers(torch_index: str) -> bool:
    """Whether the index can be reached. pip itself would try for minutes before it went on."""
    if not torch_index:
        return False
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    page = f"{torch_index.rstrip('/')}/torch/"
    if not page.startswith("https://"):
        return False
    try:
        with urllib.request.urlopen(page, timeout=PROBE_SECONDS, context=context):  # noqa: S310
            return True
    except OSError:
        say(f"{torch_index} does not answer, so pip takes torch from where it usually looks.")
        say("On Linux PyPI has the CUDA build only: several GB, and right without a GPU as well.")
        return False


def torch_requirement() -> str:
    wanted = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    return next(str(line) for line in wanted if line.startswith("torch"))


def pip_settings() -> dict[str, str]:
    """The user's own pip settings, less the one that would install outside the environment."""
    kept = {name: value for name, value in os.environ.items() if name != "PIP_USER"}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` at once must not install into each other; the second waits."""
    import fcntl  # on every system that has a `make` and no `nmake`

    with PYPROJECT.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another make is installing; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # some network disks know no locks
        yield


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
