"""Notes that many scans of a cohort share: one line with a count, and each in a file of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medblip.findings import LEVELS, Finding
from medblip.study.study import FINDINGS_FILE, REPEATED_FILE
from medblip.study.tables import write_table

FEW = 3  # so many alike are listed one by one
FINDING_COLUMNS = ["code", "level", "where", "problem", "fix"]
COUNT = "count"


class Listed(NamedTuple):
    """A line of ``findings.tsv``: a finding, and how many it stands for."""

    finding: Finding
    times: int


def gather(findings: Sequence[Finding]) -> tuple[list[Listed], list[Finding]]:
    """What ``findings.tsv`` lists, and the notes that are behind the counts, in full.

    Errors come first, then warnings, each a line of its own. Notes of one cohort that say the same
    but for numbers become one line, the first of them, where there are more than `FEW`.
    """
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        alike.setdefault(_kind(finding), []).append(finding)
    listed: list[Listed] = []
    repeated: list[Finding] = []
    for first, *others in alike.values():
        if first.level == "note" and len(others) >= FEW:
            listed.append(Listed(_standing_for(first, len(others)), 1 + len(others)))
            repeated += [first, *others]
        else:
            listed += [Listed(finding, 1) for finding in (first, *others)]
    listed.sort(key=lambda entry: LEVELS.index(entry.finding.level))
    return listed, repeated


def write_findings(folder: Path, findings: Sequence[Finding]) -> None:
    """Write ``findings.tsv``, and ``repeated_notes.tsv`` if a line of it stands for several."""
    listed, repeated = gather(findings)
    rows = [{**finding.as_dict(), COUNT: str(times)} for finding, times in listed]
    write_table(folder / FINDINGS_FILE, _table(rows, [*FINDING_COLUMNS, COUNT]))
    (folder / REPEATED_FILE).unlink(missing_ok=True)
    if repeated:
        rows = [finding.as_dict() for finding in repeated]
        write_table(folder / REPEATED_FILE, _table(rows, FINDING_COLUMNS))


def _kind(finding: Finding) -> tuple[str, ...]:
    if finding.level != "note":
        return (finding.level,)  # these keep their order
    cohort = finding.where.partition("/")[0]
    return (finding.level, cohort, finding.code, re.sub("[0-9]+", "0", finding.problem))


def _standing_for(first: Finding, others: int) -> Finding:
    where = f"{first.where} and {others} more, see {REPEATED_FILE}"
    return Finding(first.code, first.level, where, first.problem, first.fix)


def _table(rows: list[dict[str, str]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns, dtype=str)
