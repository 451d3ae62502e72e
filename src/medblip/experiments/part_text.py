"""A section of the page as Markdown, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medblip.experiments.analyses.part import Part, PartCell, PartTable

PRINTED = ("table1", "table3-parts", "figure3", "figure4")  # others are read on the page


def markdown_part(part: Part) -> str:
    """Its tables and notes, without figures and cases."""
    tables = ["\n".join(_lines(table)) for table in part.tables]
    return "\n\n".join([f"{part.title}. {part.said}", *tables]) + "\n"


def _lines(table: PartTable) -> Iterator[str]:
    yield f"{table.caption}."
    yield ""
    yield _line("", table.columns)
    yield f"|---|{'---:|' * len(table.columns)}"
    for row in table.rows:
        yield _line(row.title, [_told(cell) for cell in row.cells])


def _line(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def _told(cell: PartCell) -> str:
    return f"{cell.text} ({cell.detail})" if cell.detail else cell.text
