"""An experiment's folder: whose it is, and what each trial answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medblip.errors import UsageError
from medblip.experiments.json_file import read_kept
from medblip.experiments.matrix import ASKED
from medblip.experiments.paper_tables import PAPER_TABLES
from medblip.experiments.records import RunRecord
from medblip.experiments.sharing import turn
from medblip.experiments.simple_controls import CONTROL_TITLES
from medblip.experiments.study_controls import VERSION
from medblip.experiments.trials import Trial
from medblip.storage import write_json, write_text
from medblip.study.soundness import table_hashes
from medblip.study.study import Study
from medblip.study.subsets import SUBSETS_FILE

CLAIM_FILE = "experiment.json"
RECORDS_FILE = "records.jsonl"
RUNS_FOLDER = "runs"
CONTROLS_FILE = "simple_controls.json"
ANY_TABLE = min(PAPER_TABLES)  # that simple controls are kept under
_AGAIN = "delete it: the same command answers it again"


@dataclass(frozen=True)
class Kept:
    """What lies in an experiment's folder."""

    folder: Path

    def claim(self, study: Study) -> None:
        """Make the folder this study's.

        Raises:
            UsageError: it holds an experiment on another study.
        """
        subsets = study.folder / SUBSETS_FILE
        hashes = table_hashes(study.folder)
        drawn = json.loads(subsets.read_text(encoding="utf-8")) if subsets.is_file() else None
        wanted = {"tables": hashes, "subsets": drawn}
        file = self.folder / CLAIM_FILE
        with turn(file):
            if not file.exists():
                write_json(file, wanted)
        if read_kept(file, dict, "choose another --out") != wanted:
            raise UsageError(
                str(self.folder),
                "this folder holds experiments on another study, or the study was changed since",
                "choose another --out",
                code="other-study",
            )

    def run(self, trial: Trial) -> Path:
        """Run folder of a trial."""
        return self.folder / RUNS_FOLDER / trial.run

    def records(self, trial: Trial) -> list[RunRecord] | None:
        """What the trial answered, for its table and row; None where it is not finished."""
        found = _read(self._file(trial))
        if found is None:
            return None
        return [
            replace(r, table=trial.table, row=trial.row if r.role == "model" else r.row)
            for r in found
        ]

    def finished(self, trial: Trial) -> bool:
        """Whether its answers are kept, whichever process gave them."""
        return self.records(trial) is not None

    def keep(self, trial: Trial, records: Sequence[RunRecord]) -> None:
        """Write a trial's answers: from now on it is finished."""
        _write(self._file(trial), records)

    def simple_controls(self, inputs: Sequence[str] | None = None) -> list[RunRecord] | None:
        """Answers of the simple models, of `ANY_TABLE`.

        None where there are none, or they were made by another version of the program.

        Args:
            inputs: see `control_inputs`; those made from others are none either. None: from any.
        """
        file = self.folder / CONTROLS_FILE
        if not file.exists():
            return None

        def read(value: Any) -> list[RunRecord] | None:
            if isinstance(value, list):  # written before versions were
                value = {"version": 0, "inputs": [], "records": value}
            records = _records(value["records"], file)
            current = value["version"] == VERSION
            return records if current and inputs in (None, value["inputs"]) else None

        return read_kept(file, read, _AGAIN)

    def keep_simple_controls(self, records: Sequence[RunRecord], inputs: Sequence[str]) -> None:
        """With what they depend on: the version of the program, and ``inputs``."""
        told = {
            "version": VERSION,
            "inputs": list(inputs),
            "controls": list(dict.fromkeys(r.row for r in records)),
            "records": [record.as_dict() for record in records],
        }
        write_json(self.folder / CONTROLS_FILE, told)

    def gather(self, trials: Iterable[Trial]) -> list[RunRecord]:
        """All records of all trials so far, with the simple controls in every table of diagnoses.

        A control of the model is one whichever trial of the table scored it.
        """
        trials = list(trials)
        records = {
            (r.table, r.row, r.column, r.seed): r
            for trial in trials
            for r in self.records(trial) or ()
        }
        simple = self.simple_controls() or ()
        beside = [replace(r, table=t) for t in _of_diagnoses(records.values()) for r in simple]
        return sorted([*records.values(), *beside], key=_order)

    def write_records(self, records: Iterable[RunRecord]) -> None:
        """``records.jsonl``: one record a line; see `RunRecord.from_dict`."""
        lines = [json.dumps(r.as_dict(), ensure_ascii=False) + "\n" for r in records]
        write_text(self.folder / RECORDS_FILE, "".join(lines))

    def _file(self, trial: Trial) -> Path:
        return self.run(trial) / f"records.{trial.setting.kept_as}.json"


def _of_diagnoses(records: Iterable[RunRecord]) -> list[int]:
    """Tables that simple models of the diagnosis stand in."""
    return sorted({r.table for r in records} - set(ASKED.values()))


def _order(record: RunRecord) -> int:
    """Models as they come, then controls in the order of their titles."""
    controls = list(CONTROL_TITLES)
    return controls.index(record.row) + 1 if record.row in controls else 0


def _read(file: Path) -> list[RunRecord] | None:
    if not file.exists():
        return None
    return read_kept(file, lambda values: _records(values, file), _AGAIN)


def _records(values: Iterable[Any], file: Path) -> list[RunRecord]:
    return [RunRecord.from_dict(value, file.name) for value in values]


def _write(file: Path, records: Sequence[RunRecord]) -> None:
    write_json(file, [record.as_dict() for record in records])
