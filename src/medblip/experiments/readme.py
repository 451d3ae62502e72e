"""README's table of the paper's experiments, made from the small results file alone.

``python -m medblip.experiments.readme README.md docs/results/experiments.json`` writes what stands
between two marker lines anew. With ``--from results.json`` it first makes the small file from an
experiment's own.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medblip.errors import InputError, MedBlipError
from medblip.evaluation.intervals import Interval
from medblip.experiments.aggregate import ResultCell
from medblip.experiments.readme_file import keep_results, read_results
from medblip.experiments.table_text import cell_text
from medblip.notice import SIMULATED_DATA
from medblip.storage import write_text

BEGIN, END = "<!-- experiments:begin -->", "<!-- experiments:end -->"
SHOWN_TABLES = (2, 4, 5, 6)
BY_HAND = (
    "<!-- Made by `make results`. Do not edit it: a test compares it with the results file. -->"
)


def write_readme(readme: Path, results: Path) -> None:
    """Write the block of a page anew; nothing else in it changes.

    Raises:
        InputError: the page has not both markers once, or the results cannot be used.
    """
    before, _, after = _parts(readme)
    write_text(readme, f"{before}{BEGIN}\n{_made(readme, results)}{END}{after}")


def is_current(readme: Path, results: Path) -> bool:
    """Whether the block is what the results file gives.

    Raises:
        InputError: see `write_readme`.
    """
    return _parts(readme)[1] == f"\n{_made(readme, results)}"


def block(results: Mapping[str, Any], link: str) -> str:
    """The text between the markers.

    Args:
        results: see `medblip.experiments.readme_file.read_results`.
        link: to the results file, as the page would write it.

    Raises:
        KeyError, TypeError: they are not whole.
    """
    tables = [table for table in results["tables"] if table["table"] in SHOWN_TABLES]
    parts = [BY_HAND, _about(results), *(_table(table) for table in tables)]
    controls = _controls(tables)
    parts += [controls] if controls else []
    parts += [_claims(results["claims"]), _origin(results, link)]
    return "\n\n".join(parts) + "\n"


def _parts(readme: Path) -> tuple[str, str, str]:
    """The page before the block, the block, and after it."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        problem = "the lines that the table goes between are not there once each, in order"
        fix = f"add the lines {BEGIN} and {END}"
        raise InputError(readme.name, problem, fix, code="no-markers")
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def _made(readme: Path, results: Path) -> str:
    found = read_results(results)
    link = Path(os.path.relpath(results, readme.parent)).as_posix()
    try:
        return block(found, link)
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"is not whole ({type(error).__name__}: {error})"
        raise InputError(str(results), problem, "make it again", code="bad-results") from None


def _about(results: Mapping[str, Any]) -> str:
    facts = results["facts"]
    said = (
        f"The paper's tables, run again at {facts['recipe size']} size with seeds "
        f"{facts['seeds']}. Accuracy in %, mean over seeds with its 95% interval over subjects "
        "and seeds; in brackets the paper's number, which is of other data and mostly of larger "
        f"models. Tested on: {facts['scans tested on']}."
    )
    return f"**{SIMULATED_DATA}**\n\n{said}" if results["simulated"] else said


def _table(table: Mapping[str, Any]) -> str:
    """What was run of a table; controls are shown once, below all of them."""
    rows = [row for row in table["rows"] if row["role"] == "model"]
    lines = _grid(f"Table {table['table']}. {table['title']}", table["columns"], rows)
    return "\n".join(["\n".join(lines), *(f"\n{note}" for note in table.get("notes", ()))])


def _controls(tables: Sequence[Mapping[str, Any]]) -> str:
    """Those of the full model and the simple ones, which are the same in every table."""
    for table in tables:
        rows = [row for row in table["rows"] if row["role"] == "control"]
        if rows:
            return "\n".join(_grid("Controls", table["columns"], rows))
    return ""


def _grid(title: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A Markdown table of the rows that were run, with the columns that any of them answered."""
    run = [row for row in rows if any(cell["accuracy"] for cell in row["cells"])]
    shown = [n for n in range(len(names)) if any(row["cells"][n]["accuracy"] for row in run)]
    lines = [[title, *(names[n] for n in shown)]]
    lines += [[row["title"], *(_cell(row["cells"][n]) for n in shown)] for row in run]
    marked = [f"| {' | '.join(line)} |" for line in lines]
    return [marked[0], f"|---|{'---:|' * len(shown)}", *marked[1:]]


def _cell(cell: Mapping[str, Any]) -> str:
    accuracy = cell["accuracy"]
    ours = None
    if accuracy is not None:
        ends = (math.nan if accuracy[end] is None else accuracy[end] for end in ("low", "high"))
        ours = Interval(accuracy["value"], *ends)
    return cell_text(
        ResultCell(ours, {}, cell["n_subjects"], cell["n_rows"], cell["paper_percent"])
    )


def _claims(claims: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"- Table {claim['table']}: {claim['claim']}: **{claim['answer']}**. {claim['text']}"
        for claim in claims
        if claim["table"] in SHOWN_TABLES
    ]
    return "\n".join(["What the paper claims, and what was found here:", "", *lines])


def _origin(results: Mapping[str, Any], link: str) -> str:
    return " ".join(_origins(results, link))


def _origins(results: Mapping[str, Any], link: str) -> Iterator[str]:
    yield f"Made on {results['created']} by {results['facts']['code']}, in {results['hours']:.1f}"
    yield f"hours of training and scoring: `{results['command']}`; numbers in [{link}]({link})."
    if "code of the trials" in results["facts"]:
        yield f"Trained and tested by {results['facts']['code of the trials']}."
    if results["failed"]:
        yield f"{len(results['failed'])} trials failed and are missing above."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m medblip.experiments.readme")
    parser.add_argument("readme", type=Path)
    parser.add_argument("results", type=Path, help="the small results file")
    parser.add_argument("--from", dest="source", type=Path, help="results.json to make it from")
    given = parser.parse_args(arguments)
    try:
        if given.source is not None:
            keep_results(given.source, given.results)
        write_readme(given.readme, given.results)
    except MedBlipError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
