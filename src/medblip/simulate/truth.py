"""What a right reader makes of a simulated download, known from how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medblip.simulate.anatomy import Anatomy
from medblip.simulate.individual import Sides
from medblip.simulate.people import Visit
from medblip.simulate.scanner import (
    MM_PER_SEVERITY,
    Share,
    mean_mm,
    mean_shares,
    own_atrophy_mm,
)
from medblip.study.schema import SESSION_COLUMNS

SCAN_COLUMNS = (
    *("path", "participant_id", "session_id", "verdict", "primary", "stage", "finding", "trap"),
)
TRAP_COLUMNS = ("trap", "finding", "level", "where")
STATE_COLUMNS = (
    "participant_id",
    "session_id",
    "status",
    "severity",
    "age_deviation",
    "memory_loss",
    *(f"{region}_{side}_max_mm" for region in MM_PER_SEVERITY for side in Sides._fields),
)
# What the anatomy makes of them.
CHANGE_COLUMNS = tuple(
    f"{region}_{part}mean_mm"
    for region in MM_PER_SEVERITY
    for part in ("", *(f"{side}_" for side in Sides._fields))
)

Row = dict[str, str]


def number(value: float, digits: int = 1) -> str:
    """As `medblip.study.schema` writes numbers: ``70.0`` is ``70``."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass
class Truth:
    """One cohort's truth.

    Attributes:
        cohort: its name.
        label_defined_by: of every session.
        sessions: the rows of ``sessions.tsv``.
        scans: every scan, used or refused; a series of slices by folder and pattern.
        traps: what was planted and is no scan, or shows in a finding.
        states: the latent values of every session.
    """

    cohort: str
    label_defined_by: str
    sessions: list[Row] = field(default_factory=list)
    scans: list[Row] = field(default_factory=list)
    traps: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)

    def session(
        self,
        subject: str,
        session: str,
        visit: Visit,
        scans: Sequence[str],
        fields: Mapping[str, str],
        *,
        trap: str = "",
    ) -> None:
        """A session with its scans, the primary one first.

        Args:
            subject: original identifier.
            session: its id.
            visit: with its latent values.
            scans: paths; for a series of slices ``folder/*_I12.dcm``.
            fields: what its row says; all others are empty.
            trap: what was planted in it.
        """
        key = {"participant_id": f"{self.cohort}-{subject}", "session_id": session}
        row = dict.fromkeys((column.name for column in SESSION_COLUMNS), "")
        row.update(key, cohort=self.cohort, label_defined_by=self.label_defined_by, **fields)
        self.sessions.append(row)
        for path in scans:
            primary = "true" if path == scans[0] else "false"
            self.scans.append(
                {**key, "path": path, "verdict": "used", "primary": primary, "trap": trap}
            )
        self.states.append(
            {
                **key,
                "status": visit.status,
                "severity": f"{visit.severity:.4f}",
                "age_deviation": f"{visit.age_deviation:.4f}",
                "memory_loss": f"{visit.memory_loss:.4f}",
                **{
                    f"{region}_{side}_max_mm": f"{mm:.3f}"
                    for region, sides in own_atrophy_mm(visit, visit.pattern).items()
                    for side, mm in sides._asdict().items()
                },
            }
        )

    def refused(self, path: str, finding: str, trap: str, *, stage: str = "reader") -> None:
        """A scan that must not be used: found out by the reader, or when the image is read."""
        row = {"path": path, "verdict": "refused", "stage": stage, "finding": finding, "trap": trap}
        self.scans.append(row)

    def plant(self, trap: str, finding: str, where: str, level: str = "note") -> None:
        """A trap that must show as this finding at ``where`` (the beginning of its place)."""
        place = f"{self.cohort}/{where}"
        self.traps.append({"trap": trap, "finding": finding, "level": level, "where": place})


def with_change(states: Sequence[Row], anatomy: Anatomy) -> list[Row]:
    """The states with `CHANGE_COLUMNS`: mean displacement in mm by region, and by side of it."""
    shares = mean_shares(anatomy)
    return [row | _change(row, shares) for row in states]


def _change(row: Row, shares: Mapping[str, Share]) -> Row:
    amounts = {
        region: Sides(*(float(row[f"{region}_{side}_max_mm"]) for side in Sides._fields))
        for region in shares
    }
    change = {f"{region}_mean_mm": mm for region, mm in mean_mm(shares, amounts).items()}
    for region, share in shares.items():
        halves = zip(Sides._fields, amounts[region], share.amounts, strict=True)
        change |= {f"{region}_{side}_mean_mm": mm * part for side, mm, part in halves}
    return {name: f"{mm:.3f}" for name, mm in change.items()}
