"""Result tables as Markdown, for the terminal and for pages that are kept in git."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from medblip.evaluation.verdicts import p_value, points, span
from medblip.experiments.aggregate import ResultCell, ResultTable

NOTHING = "\N{EN DASH}"


def markdown_table(table: ResultTable, control_titles: Mapping[str, str] | None = None) -> str:
    """The paper's table with ours, and below it the differences to the best controls.

    Args:
        control_titles: row key -> title.
    """
    lines = [
        f"Table {table.paper.number}. {table.paper.title}. Accuracy in %, mean over "
        f"{seeds_run(table)} with its 95% interval over subjects and seeds; the paper's number in "
        "brackets.",
        "",
        *_head(table),
        *(_line(row.title, [cell_text(cell) for cell in row.cells]) for row in table.rows),
    ]
    if table.compared:
        named = control_titles or {}
        best = [named.get(key, key) or NOTHING for key in table.best_controls]
        lines += [
            "",
            "Difference to the best control of each test set, p after Holm's correction.",
            "",
            *_head(table),
            *(
                _line(row.title, [against_text(cell) or NOTHING for cell in row.cells])
                for row in table.compared
            ),
            _line("Best control", best),
        ]
    for note in filter(None, (table.paper.note, *table.notes)):
        lines += ["", note]
    return "\n".join(lines) + "\n"


def cell_text(cell: ResultCell) -> str:
    """``73.3 (68.0 to 78.1) [78.7]``; a dash where neither was run nor is known.

    Of a test set that is too small ``75.0, too few subjects (4)``.
    """
    parts = []
    if cell.ours is not None:
        parts.append(f"{cell.ours.value * 100:.1f}")
        if cell.too_few:
            parts[0] += f", {cell.too_few}"
        elif not math.isnan(cell.ours.low):
            parts.append(f"({span(cell.ours, 100, 1)})")
    if cell.paper is not None:
        parts.append(f"[{cell.paper:.1f}]")
    return " ".join(parts) or NOTHING


def against_text(cell: ResultCell) -> str:
    """``+4.2 points (1.0 to 7.4, p = 0.020)``; empty where nothing was compared.

    Of a test set that is too small, that it is.
    """
    if cell.against is None:
        return cell.too_few
    d = cell.against.difference.estimate
    return f"{points(d.value)} points ({span(d, 100, 1)}, {p_value(cell.against.p)})"


def seeds_run(table: ResultTable) -> str:
    """How many runs stand behind a model's cell: ``5 seeds``, ``1 to 3 seeds``."""
    models = (row for row in table.rows if row.role == "model")
    counts = sorted({len(c.by_seed) for row in models for c in row.cells if c.by_seed})
    if not counts:
        return "no seeds"
    if counts == [1]:
        return "1 seed"
    low, high = counts[0], counts[-1]
    return f"{high} seeds" if low == high else f"{low} to {high} seeds"


def _head(table: ResultTable) -> list[str]:
    heads = [
        f"{name} ({n:,} subjects)" if n else name
        for name, n in zip(table.columns, table.subjects, strict=True)
    ]
    return [_line("", heads), f"|---|{'---:|' * len(table.columns)}"]


def _line(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"
