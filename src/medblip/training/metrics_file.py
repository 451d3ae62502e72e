"""``metrics.jsonl``: what a run measured on the way, one row a log entry."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from medblip.storage import write_text
from medblip.training.disk import saving


class MetricsFile:
    """``metrics.jsonl``: one row a log entry; rows of steps that are run again are dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Add a row, on the disk when this returns.

        Raises:
            CannotSaveError: the disk is full or read-only.
        """
        with saving(self.path.parent), self.path.open("ab+") as handle:
            # A line that a kill cut short must not take the next row with it.
            handle.write(b"\n" * _ends_within_a_line(handle))
            handle.write((json.dumps(row) + "\n").encode())
            handle.flush()
            os.fsync(handle.fileno())

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the last line of a killed run may be cut
        return rows

    def rewind(self, stage: str, step: int) -> None:
        """Forget rows of ``stage`` after ``step``: they will be written again.

        The file is replaced as a whole, so that no row is lost if this is cut short.
        """
        kept = [r for r in self.read() if r["stage"] != stage or r["step"] <= step]
        with saving(self.path.parent):
            write_text(self.path, "".join(json.dumps(r) + "\n" for r in kept))


def _ends_within_a_line(handle: IO[bytes]) -> bool:
    if handle.seek(0, os.SEEK_END) == 0:
        return False
    handle.seek(-1, os.SEEK_END)
    return handle.read(1) != b"\n"
