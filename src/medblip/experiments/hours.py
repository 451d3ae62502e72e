"""How long the trials of an experiment took, which failed, and how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medblip.experiments.json_file import read_kept
from medblip.experiments.trials import Trial
from medblip.storage import write_json

HOURS_FILE = "hours.json"
PARTS = ("training_s", "scoring_s")


@dataclass(frozen=True)
class Hours:
    """``hours.json``: seconds by trial, over all interruptions, and what failed.

    Attributes:
        file: where they are kept.
        entries: by the trial's key in one word.
    """

    file: Path
    entries: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Hours:
        """Those of an experiment's folder; InputError where the file is damaged."""
        file = folder / HOURS_FILE
        if not file.exists():
            return cls(file, {})
        fix = "delete it: finished trials are kept, the hours so far are lost"
        return cls(file, read_kept(file, lambda value: dict(value["trials"]), fix))

    @property
    def total(self) -> float:
        """Hours of all trials."""
        return sum(self.seconds(entry) for entry in self.entries.values()) / 3600

    def of(self, trial: Trial) -> Mapping[str, Any]:
        return self.entries.get(word(trial), {})

    @contextmanager
    def timing(self, trial: Trial, part: str) -> Iterator[None]:
        """Add what is done inside to ``training_s`` or ``scoring_s``, cut short or not."""
        start = time.monotonic()
        try:
            yield
        finally:
            entry = self._entry(trial)
            entry[part] = round(entry.get(part, 0.0) + time.monotonic() - start, 1)
            self._write()

    def fail(self, trial: Trial, error: str) -> None:
        """Note why a trial failed."""
        entry = self._entry(trial)
        entry["error"] = error
        self._write()

    def end(self, trial: Trial, code: str) -> None:
        """Note that a trial ended, and by which code; see `medblip.experiments.code_state`."""
        entry = self._entry(trial)
        entry |= {"error": "", "code": code}
        self._write()

    def codes(self, trials: Iterable[Trial]) -> str:
        """How many of some ended trials each state of the code ran: ``... 0123abc: 13 trials``."""
        counts = Counter(str(self.of(trial).get("code", "")) for trial in trials)
        unknown = counts.pop("", 0)
        told = [f"{code}: {n} trial{'s' * (n != 1)}" for code, n in counts.items()]
        return "; ".join([*told, *([f"not recorded: {unknown}"] if unknown else [])])

    @staticmethod
    def seconds(entry: Mapping[str, Any]) -> float:
        return sum(float(entry.get(part, 0.0)) for part in PARTS)

    def expected(self, trials: Iterable[Trial], done: Iterable[Trial]) -> float | None:
        """Hours that ``trials`` will take; None where nothing is known of them.

        The settings' own minutes, times what those of ``done`` took against theirs.
        """
        minutes = [trial.setting.minutes for trial in trials]
        if not all(minutes):
            return None
        known = [(self.seconds(self.of(t)) / 60, t.setting.minutes or 0.0) for t in done]
        taken, told = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0)
        pace = taken / told if taken and told else 1.0
        return pace * sum(m or 0.0 for m in minutes) / 60

    def _entry(self, trial: Trial) -> dict[str, Any]:
        return self.entries.setdefault(word(trial), {"trial": trial.title})

    def _write(self) -> None:
        write_json(self.file, {"hours": round(self.total, 3), "trials": self.entries})


def word(trial: Trial) -> str:
    """A trial's key in one word."""
    return ".".join(trial.key)
