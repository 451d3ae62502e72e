"""From records to what is read: result tables, verdicts, ``experiments.html``, ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medblip import __version__
from medblip.experiments.aggregate import RESAMPLES, ResultTable, result_tables
from medblip.experiments.analyses.part import Part
from medblip.experiments.claim_verdicts import ClaimVerdict, claim_verdicts
from medblip.experiments.matrix import Size
from medblip.experiments.page import ExperimentsPage, write_page
from medblip.experiments.records import RunRecord, answers_by_table
from medblip.experiments.results_file import write_results
from medblip.experiments.runner import Failure
from medblip.experiments.simple_controls import CONTROL_TITLES
from medblip.experiments.table_notes import table_notes
from medblip.notice import RESEARCH_USE, SIMULATED_DATA

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
        hours: of all trials in the folder, added up.
        elapsed_hours: what they took on the clock, side by side or not.
    """

    command: str
    simulated: bool
    facts: Mapping[str, str]
    hours: float
    elapsed_hours: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        tables, claims: of the tables that were asked for.
        failures: trials that did not end.
        simulated: whether the study is.
        page, results: files.
        means_nothing: see `medblip.experiments.matrix.Size`.
        parts: analyses beside the tables.
    """

    tables: tuple[ResultTable, ...]
    claims: tuple[ClaimVerdict, ...]
    failures: tuple[Failure, ...]
    simulated: bool
    page: Path
    results: Path
    means_nothing: str = ""
    parts: tuple[Part, ...] = ()


def write_outcome(
    folder: Path,
    records: Sequence[RunRecord],
    asked: Sequence[int],
    size: Size,
    circumstances: Circumstances,
    failures: Sequence[Failure] = (),
    parts: Sequence[Part] = (),
    more_claims: Sequence[ClaimVerdict] = (),
    *,
    n_resamples: int = RESAMPLES,
) -> Outcome:
    """Aggregate and write both files.

    Args:
        asked: tables; claims of others are left out.
        parts: analyses beside the tables.
        more_claims: that do not follow from records alone.

    Raises:
        InputError: see `medblip.experiments.records.answers_by_table`.
    """
    titles = {**CONTROL_TITLES, **size.titles}
    found_tables = result_tables(records, titles, size.stand_ins, n_resamples=n_resamples)
    tables = [replace(t, notes=(*table_notes(t), *_notes(size, t))) for t in found_tables]
    answers = answers_by_table(records)
    found = claim_verdicts(answers, titles, size.stand_ins, n_resamples=n_resamples)
    told = [*(claim for claim in found if claim.table in asked), *more_claims]
    claims = [_decidable(claim, size) for claim in sorted(told, key=lambda claim: claim.table)]
    outcome = Outcome(
        tuple(tables),
        tuple(claims),
        tuple(failures),
        circumstances.simulated,
        folder / PAGE_FILE,
        folder / RESULTS_FILE,
        size.means_nothing,
        tuple(parts),
    )
    created = datetime.now(UTC).date().isoformat()
    _write_page(outcome, created, circumstances)
    write_results(outcome.results, _as_dict(outcome, created, circumstances))
    return outcome


def _notes(size: Size, table: ResultTable) -> tuple[str, ...]:
    return tuple(filter(None, (size.notes.get(table.paper.number, ""), size.means_nothing)))


def _decidable(claim: ClaimVerdict, size: Size) -> ClaimVerdict:
    """The verdict; of a size whose numbers mean nothing, that there is none."""
    if not size.means_nothing:
        return claim
    text = f"No claim is decided at this size: {size.means_nothing}."
    return replace(claim, answer="not decided", text=text, steps=())


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
        means_nothing=outcome.means_nothing,
        parts=outcome.parts,
    )
    write_page(outcome.page, page)


def _as_dict(outcome: Outcome, created: str, circumstances: Circumstances) -> dict[str, Any]:
    elapsed = circumstances.elapsed_hours
    return {
        "schema": SCHEMA,
        "created": created,
        "medblip": __version__,
        "notice": RESEARCH_USE,
        "simulated": SIMULATED_DATA if circumstances.simulated else None,
        "means_nothing": outcome.means_nothing or None,
        "command": circumstances.command,
        "facts": dict(circumstances.facts),
        "hours": round(circumstances.hours, 2),
        **({} if elapsed is None else {"elapsed_hours": round(elapsed, 2)}),
        "tables": [table.as_dict() for table in outcome.tables],
        "claims": [claim.as_dict() for claim in outcome.claims],
        "analyses": {p.key: dict(p.numbers) or {"said": p.said} for p in outcome.parts},
        "failed": [{"trial": f.trial.title, "error": f.error} for f in outcome.failures],
    }
