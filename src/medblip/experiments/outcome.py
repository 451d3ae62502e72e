"""From records to what is read: result tables, verdicts, ``experiments.html``, ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medblip import __version__
from medblip.experiments.aggregate import RESAMPLES, ResultTable, result_tables
from medblip.experiments.claim_verdicts import ClaimVerdict, claim_verdicts
from medblip.experiments.matrix import Size
from medblip.experiments.page import ExperimentsPage, write_page
from medblip.experiments.records import RunRecord, answers_by_table
from medblip.experiments.runner import Failure
from medblip.experiments.simple_controls import CONTROL_TITLES
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.storage import write_json

PAGE_FILE = "experiments.html"
RESULTS_FILE = "results.json"
SCHEMA = "medblip-experiments/1"


@dataclass(frozen=True)
class Circumstances:
    """What stands beside the numbers.

    Attributes:
        command: that makes them again.
        simulated: whether the study is.
        facts: name -> value: code, device, hours, recipe, seeds.
        hours: of all trials in the folder.
    """

    command: str
    simulated: bool
    facts: Mapping[str, str]
    hours: float


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        tables, claims: of the tables that were asked for.
        failures: trials that did not end.
        simulated: whether the study is.
        page, results: files.
    """

    tables: tuple[ResultTable, ...]
    claims: tuple[ClaimVerdict, ...]
    failures: tuple[Failure, ...]
    simulated: bool
    page: Path
    results: Path


def write_outcome(
    folder: Path,
    records: Sequence[RunRecord],
    asked: Sequence[int],
    size: Size,
    circumstances: Circumstances,
    failures: Sequence[Failure] = (),
    *,
    n_resamples: int = RESAMPLES,
) -> Outcome:
    """Aggregate and write both files.

    Args:
        asked: tables; claims of others are left out.

    Raises:
        InputError: see `medblip.experiments.records.answers_by_table`.
    """
    titles = {**CONTROL_TITLES, **size.titles}
    tables = result_tables(records, titles, size.stand_ins, n_resamples=n_resamples)
    answers = answers_by_table(records)
    found = claim_verdicts(answers, titles, size.stand_ins, n_resamples=n_resamples)
    claims = [claim for claim in found if claim.table in asked]
    outcome = Outcome(
        tuple(tables),
        tuple(claims),
        tuple(failures),
        circumstances.simulated,
        folder / PAGE_FILE,
        folder / RESULTS_FILE,
    )
    created = datetime.now(UTC).date().isoformat()
    _write_page(outcome, created, circumstances)
    write_json(outcome.results, _as_dict(outcome, created, circumstances))
    return outcome


def _write_page(outcome: Outcome, created: str, circumstances: Circumstances) -> None:
    kind = "on simulated data" if circumstances.simulated else "run again"
    failed = {f"failed: {f.trial.title}": f.error for f in outcome.failures}
    page = ExperimentsPage(
        title=f"The paper's experiments, {kind}",
        created=created,
        commands=[circumstances.command],
        facts={**circumstances.facts, **failed},
        simulated=circumstances.simulated,
        tables=outcome.tables,
        claims=outcome.claims,
        control_titles=CONTROL_TITLES,
    )
    write_page(outcome.page, page)


def _as_dict(outcome: Outcome, created: str, circumstances: Circumstances) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "created": created,
        "medblip": __version__,
        "notice": RESEARCH_USE,
        "simulated": SIMULATED_DATA if circumstances.simulated else None,
        "command": circumstances.command,
        "facts": dict(circumstances.facts),
        "hours": round(circumstances.hours, 2),
        "tables": [table.as_dict() for table in outcome.tables],
        "claims": [claim.as_dict() for claim in outcome.claims],
        "failed": [{"trial": f.trial.title, "error": f.error} for f in outcome.failures],
    }
