"""What a conversion took, what it left out and why, for the terminal and beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medblip import __version__
from medblip.model.weight_files import some
from medblip.storage import write_json

REPORT = "conversion.json"


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Attributes:
        folder: what was written.
        source, source_sha256: what was read: file name, folder or hub id, and its hash.
        taken: names of the weights written, as they are called here.
        left_out: reason -> names of the source's weights that have no place here.
        new: name of a weight here -> where its value comes from, since the source has none.
        notes: what a user must know about the result.
    """

    folder: Path
    source: str
    source_sha256: str
    taken: Sequence[str]
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    new: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Write ``conversion.json`` into ``folder``."""
        write_json(folder / REPORT, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """All of it but the place on this machine."""
        return {
            "format_version": 1,
            "medblip": __version__,
            "source": self.source,
            "source_sha256": self.source_sha256,
            "taken": sorted(self.taken),
            "left_out": {reason: sorted(names) for reason, names in self.left_out.items()},
            "new": dict(self.new),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """A summary, a line for each fact; of many names the first, the file has them all."""
        lines = [f"{self.folder}: {len(self.taken)} weights taken from {self.source}"]
        lines += [
            f"left out, {reason}: {some(sorted(names))}" for reason, names in self.left_out.items()
        ]
        by_value: dict[str, list[str]] = {}
        for name, value in self.new.items():
            by_value.setdefault(value, []).append(name)
        lines += [f"not in the source, {value}: {some(names)}" for value, names in by_value.items()]
        return [*lines, *(f"note: {note}" for note in self.notes)]
