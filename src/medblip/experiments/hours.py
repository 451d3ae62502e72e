"""How long the trials of an experiment took, which failed, and how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from medblip.experiments.elapsed import Interval, on_the_clock, seconds_between
from medblip.experiments.json_file import read_kept
from medblip.experiments.sharing import turn
from medblip.experiments.trials import Trial
from medblip.storage import write_json
from medblip.training.agreement import is_first_process

HOURS_FILE = "hours.json"
PARTS = ("training_s", "scoring_s")
INTERVALS = "intervals"


@dataclass(frozen=True)
class Hours:
    """``hours.json``: seconds by trial, over all interruptions, and what failed.

    Several processes may write into one file: each changes the entry of its own trial.

    Attributes:
        file: where they are kept.
        entries: by the trial's key in one word, as they were in the file when this process last
            read or wrote it.
    """

    file: Path
    entries: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Hours:
        """Those of an experiment's folder; InputError where the file is damaged."""
        file = folder / HOURS_FILE
        return cls(file, _read(file))

    @property
    def total(self) -> float:
        """Hours of all trials."""
        return sum(self.seconds(entry) for entry in self.entries.values()) / 3600

    @property
    def elapsed(self) -> float:
        """Hours on the clock in which any trial ran.

        Of what was timed before intervals were kept, trials are taken to have run one by one.
        """
        unknown = sum(map(_without_interval, self.entries.values()))
        return (on_the_clock(self._intervals())[0] + unknown) / 3600

    @property
    def told(self) -> str:
        """``4.25 h of trials, 2.30 h elapsed, with up to 2 at a time``."""
        most = on_the_clock(self._intervals())[1]
        beside = f", with up to {most} at a time" if most > 1 else ""
        return f"{self.total:.2f} h of trials, {self.elapsed:.2f} h elapsed{beside}"

    def of(self, trial: Trial) -> Mapping[str, Any]:
        return self.entries.get(word(trial), {})

    @contextmanager
    def timing(self, trial: Trial, part: str) -> Iterator[None]:
        """Add what is done inside to ``training_s`` or ``scoring_s``, cut short or not.

        With the interval of the clock that it took, and the threads of this process.
        """
        began, start = time.time(), time.monotonic()
        try:
            yield
        finally:
            self._change(trial, partial(_add, part, began, time.monotonic() - start))

    def fail(self, trial: Trial, error: str) -> None:
        """Note why a trial failed."""
        self._change(trial, lambda entry: entry.update(error=error))

    def end(self, trial: Trial, code: str) -> None:
        """Note that a trial ended, and by which code; see `medblip.experiments.code_state`."""
        self._change(trial, lambda entry: entry.update(error="", code=code))

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

    def _intervals(self) -> Iterator[Interval]:
        for entry in self.entries.values():
            yield from entry.get(INTERVALS, ())

    def _change(self, trial: Trial, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a trial's entry in the file as it is now, beside those of other processes."""
        if not is_first_process():  # processes of one training would count its seconds again
            return
        with turn(self.file):
            found = _read(self.file)
            change(found.setdefault(word(trial), {"trial": trial.title}))
            self.entries.clear()
            self.entries.update(found)
            hours = {"hours": round(self.total, 3), "elapsed_hours": round(self.elapsed, 3)}
            write_json(self.file, {**hours, "trials": found})


def _read(file: Path) -> dict[str, dict[str, Any]]:
    if not file.exists():
        return {}
    fix = "delete it: finished trials are kept, the hours so far are lost"
    return read_kept(file, lambda value: dict(value["trials"]), fix)


def _add(part: str, began: float, seconds: float, entry: dict[str, Any]) -> None:
    entry[part] = round(entry.get(part, 0.0) + seconds, 1)
    entry.setdefault(INTERVALS, []).append([round(began), round(began + seconds)])
    entry["threads"] = torch.get_num_threads()


def _without_interval(entry: Mapping[str, Any]) -> float:
    """Seconds that were counted before intervals were kept."""
    known: list[Interval] = entry.get(INTERVALS, [])
    left = Hours.seconds(entry) - seconds_between(known)
    return left if left > len(known) else 0.0  # each is rounded to a second


def word(trial: Trial) -> str:
    """A trial's key in one word."""
    return ".".join(trial.key)
