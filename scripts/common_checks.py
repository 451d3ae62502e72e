"""Write the table of transformers' common checks into docs/transformers.md.

    python scripts/common_checks.py            prints the table
    python scripts/common_checks.py --write    puts it into the page

The verdicts are kept in tests/model/common_checks.toml, where each is reviewed.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CHECKS = ROOT / "tests" / "model" / "common_checks.toml"
PAGE = ROOT / "docs" / "transformers.md"
START, END = "<!-- common checks: start -->", "<!-- common checks: end -->"
VERDICTS = {"passed": "passed", "cannot_apply": "cannot apply", "fails": "**fails**"}


def read_checks(file: Path = CHECKS) -> dict[str, dict[str, tuple[str, str]]]:
    """Verdict, and test or reason, of each check by suite.

    Raises:
        ValueError: a check without exactly one verdict, or one that is not known.
    """
    suites: dict[str, dict[str, Any]] = tomllib.loads(file.read_text("utf-8"))["checks"]
    checks: dict[str, dict[str, tuple[str, str]]] = {}
    for suite, entries in suites.items():
        for name, entry in entries.items():
            if len(entry) != 1 or not set(entry) <= set(VERDICTS):
                raise ValueError(f"{suite}.{name}: {entry}; expected one of {sorted(VERDICTS)}")
            ((verdict, why),) = entry.items()
            if not why.strip():
                raise ValueError(f"{suite}.{name}: {verdict} without a test or a reason")
            checks.setdefault(suite, {})[name] = (verdict, why)
    return checks


def table(checks: dict[str, dict[str, tuple[str, str]]]) -> str:
    """The part of the page between its two marks."""
    counts = Counter(verdict for suite in checks.values() for verdict, _ in suite.values())
    told = ", ".join(f"{counts[verdict]} {name.strip('*')}" for verdict, name in VERDICTS.items())
    lines = [f"{sum(counts.values())} checks: {told}."]
    for suite, entries in checks.items():
        lines += ["", f"### {suite}", "", "| check | verdict | by which test, or why not |"]
        lines += ["|---|---|---|"]
        lines += [_row(name, *entry) for name, entry in entries.items()]
    return "\n".join(lines)


def _row(name: str, verdict: str, why: str) -> str:
    shown = f"`{why.split('::')[-1]}`" if verdict == "passed" else why
    return f"| `{name}` | {VERDICTS[verdict]} | {shown} |"


def page_with(text: str, page: str) -> str:
    """``page`` with ``text`` between its marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"the page lacks {START} or {END}")
    return f"{before}{START}\n\n{text}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The table of transformers' common checks.")
    parser.add_argument("--write", action="store_true", help="put it into docs/transformers.md")
    text = table(read_checks())
    if parser.parse_args(arguments).write:
        PAGE.write_text(page_with(text, PAGE.read_text("utf-8")), "utf-8")
    else:
        sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
