"""Which code made a result: the version, and the commit where it runs from a git checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

from medblip import __version__

PACKAGE = Path(__file__).resolve().parent.parent
PATIENCE_S = 10


def code_state() -> str:
    """``medblip 0.1.0, commit 0123abc``, and whether files differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return f"medblip {__version__}"
    changed = _git("status", "--porcelain", "--", str(PACKAGE))
    return f"medblip {__version__}, commit {commit}" + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    """What git says; empty where there is no git, or no checkout that tracks this package."""
    try:
        tracked = ["git", "-C", str(PACKAGE), "ls-files", "--error-unmatch", "errors.py"]
        subprocess.run(tracked, capture_output=True, check=True, timeout=PATIENCE_S)
        command = ["git", "-C", str(PACKAGE), *arguments]
        done = subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
