"""What the commands print at their end: tables for a terminal, plain text elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medblip.findings import LEVELS, Finding, Level

if TYPE_CHECKING:
    from medblip.cohorts.summary import CodeCount, StudySummary

_BOX = box.SIMPLE_HEAD
CODES_SHOWN = 6  # of each level
AUDIT_SHOWN = 8
_MARGINS = 16  # characters between columns, and the least that "times" takes
PLAIN_WIDTH = 200  # of a file or a pipe, which wraps no lines
FINDINGS_SHOWN = 20


def print_study(summary: StudySummary) -> None:
    """What `prepare` made: scans by cohort and label, findings, audit, and where to read on."""
    console = _console()
    console.print(_cohorts(summary))
    if summary.codes:
        console.print(_codes(summary, console.width))
    for line in _audit(summary):
        console.print(line, soft_wrap=True)


def print_results(results: Mapping[str, Any]) -> None:
    """Numbers of an evaluation, and of the paper's subsets where the study has them."""
    table = Table("", "accuracy", "95% interval", "balanced", "macro AUC", box=_BOX)
    rows = {**results["conditions"], **results["simple_models"]}
    for entry in rows.values():
        metrics = entry["metrics"]
        table.add_row(
            entry["title"],
            *_accuracy(metrics),
            f"{metrics['balanced_accuracy']['value']:.1%}",
            f"{metrics['macro_auc']['value']:.3f}" if metrics["macro_auc"]["value"] else "-",
        )
    console = _console()
    console.print(table)
    if results["subsets"]:
        console.print(_subsets(results))


def print_question_results(results: Mapping[str, Any]) -> None:
    """What a model answers to the questions of a study, beside what it answers without the scan."""
    for name, split in results["splits"].items():
        conditions = split["conditions"]
        table = Table(f"Questions, {name}", "n", "chance", box=_BOX)
        for condition in conditions.values():
            table.add_column(condition["title"])
        table.add_column("strict")
        table.add_column("lenient")
        for group, full in conditions["full"]["groups"].items():
            mains = [c["groups"][group]["scores"][full["main"]] for c in conditions.values()]
            others = [full["scores"].get(rule) for rule in ("strict", "lenient")]
            table.add_row(
                group,
                str(full["n"]),
                "-" if full["chance"] is None else f"{full['chance']:.1%}",
                *(" ".join(_interval(main)) for main in mains),
                *("-" if other is None else f"{other['value']:.1%}" for other in others),
            )
        console = _console()
        console.print(table)
        for line in _refusals_and_pairs(conditions["full"]):
            console.print(line, soft_wrap=True)
    if results["simulated"]:
        console.print(results["simulated"], soft_wrap=True)


def list_findings(console: Console, findings: Sequence[Finding]) -> None:
    """The first findings, a line each, and how many more there are."""
    for finding in findings[:FINDINGS_SHOWN]:
        console.print(f"  {finding}", markup=False, soft_wrap=True)
    if len(findings) > FINDINGS_SHOWN:
        console.print(f"  and {len(findings) - FINDINGS_SHOWN} more")


def _refusals_and_pairs(full: Mapping[str, Any]) -> Iterator[str]:
    refusals, pairs = full["refusals"], full["two_turn_pairs"]
    if refusals["hallucinated"] is not None:
        yield (
            f"Answered although no scan can show it: {refusals['hallucinated']:.1%} of "
            f"{refusals['n_unanswerable']}"
        )
    if refusals["refused"] is not None:
        yield f"Refused although it can: {refusals['refused']:.1%} of {refusals['n_answerable']}"
    if pairs["n"]:
        right = " ".join(_interval(pairs["both_right"]))
        yield f"Two-turn pairs of which both are right: {right} of {pairs['n']}"


def _interval(number: Mapping[str, float | None]) -> tuple[str, str]:
    if number["low"] is None:
        return f"{number['value']:.1%}", "(no interval)"
    return f"{number['value']:.1%}", f"({number['low']:.1%} to {number['high']:.1%})"


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def _accuracy(metrics: Mapping[str, Any]) -> tuple[str, str]:
    accuracy = metrics["accuracy"]
    if accuracy["low"] is None:
        return f"{accuracy['value']:.1%}", "no interval"
    return f"{accuracy['value']:.1%}", f"{accuracy['low']:.1%} to {accuracy['high']:.1%}"


def _subsets(results: Mapping[str, Any]) -> Table:
    table = Table(
        "The paper's subsets", "labels", "scans", "subjects", "accuracy", "95% interval",
        "record only", "image only", box=_BOX, caption_justify="left",
        caption="Two labels: scored over these two answers only. Intervals over subjects.",
    )  # fmt: skip
    for subset in results["subsets"]:
        unit = "one scan a subject" if subset["unit"] == "subject" else "all scans"
        title = f"{subset['name']}, {unit}"
        if subset["per_label"] < subset["per_label_in_paper"]:
            title += f"; {subset['per_label']} a label, not {subset['per_label_in_paper']}"
        labels = "/".join(subset["labels"])
        conditions = subset["conditions"]
        if not conditions:
            table.add_row(title, labels, "0", "0", "-", "not every label is there", "-", "-")
            continue
        metrics = conditions["full"]["metrics"]
        controls = [_accuracy(conditions[n]["metrics"])[0] for n in ("record", "image")]
        sizes = str(metrics["n_rows"]), str(metrics["n_subjects"])
        table.add_row(title, labels, *sizes, *_accuracy(metrics), *controls)
    return table


def _cohorts(summary: StudySummary) -> Table:
    table = Table(title="Scans", title_justify="left", box=_BOX)
    table.add_column("", no_wrap=True)
    names = list(summary.cohorts[0].scans_by_diagnosis)
    for column in ("found", "used", "left out", "subjects", "sessions", *names):
        table.add_column(column, justify="right", no_wrap=True)
    rows = [
        (c.found, c.used, c.found - c.used, c.subjects, c.sessions, *c.scans_by_diagnosis.values())
        for c in summary.cohorts
    ]
    for cohort, row in zip(summary.cohorts, rows, strict=True):
        table.add_row(cohort.cohort, *map(str, row))
    if len(rows) > 1:
        table.add_row("all", *(str(sum(column)) for column in zip(*rows, strict=True)))
    return table


def _codes(summary: StudySummary, width: int) -> Table:
    rows = [row for level in LEVELS for row in _of_level(summary.codes, level)]
    table = Table(title="Findings", title_justify="left", box=_BOX)
    for column in ("", "code"):
        table.add_column(column, no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    table.add_column("for example", no_wrap=True)
    # What the other columns leave: a table that is too wide would shrink all of them.
    taken = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    left = max(width - sum(taken) - _MARGINS, 20)
    for *cells, example in rows:
        table.add_row(*cells, escape(shorten(example, left, placeholder=" ...")))
    return table


def _of_level(codes: Sequence[CodeCount], level: Level) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the most frequent codes of a level, and one that counts the others."""
    here = [c for c in codes if c.level == level]
    for c in here[:CODES_SHOWN]:
        yield c.level, c.code, str(c.count), c.example
    if rest := here[CODES_SHOWN:]:
        yield level, f"{len(rest)} other codes", str(sum(c.count for c in rest)), ""


def _audit(summary: StudySummary) -> Iterator[str]:
    if summary.audit:
        yield "Audit:"
        for finding in summary.audit[:AUDIT_SHOWN]:
            yield f"  {escape(str(finding))}"
        if len(summary.audit) > AUDIT_SHOWN:
            yield f"  and {len(summary.audit) - AUDIT_SHOWN} more"
    else:
        yield "Audit: no error, no warning"
    if summary.ceiling is None:
        yield "Text-only ceiling: not measured, too few labelled subjects"
    else:
        c = summary.ceiling
        yield (
            f"Text-only ceiling: the record alone tells the label of {c.subjects} subjects with a "
            f"balanced accuracy of {c.accuracy:.2f} (95% interval {c.low:.2f} to {c.high:.2f}; "
            f"guessing {c.chance:.2f})"
        )
    yield f"Every finding: {summary.findings}"
    yield f"Audit page:    {summary.page}"
