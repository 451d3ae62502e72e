"""M3D-VQA: questions with four choices about CT volumes, as its CSV files hold them.

Published by BAAI (arXiv 2404.00578). The captions hold the answers, so they serve the filter alone
and never become part of a question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.tables import MAX_TABLE_BYTES, read_table
from medblip.study.text import clean_text
from medblip.vqa.filter_terms import TermFilter
from medblip.vqa.question_file import check_volume
from medblip.vqa.question_set import QuestionSet, gather
from medblip.vqa.questions import Question, VolumeFile, folded

CHOICES = ("Choice A", "Choice B", "Choice C", "Choice D")
ASKED = ("Image Path", "Question", *CHOICES, "Answer", "Answer Choice", "Question Type")
CAPTIONS = ("Image Caption", "Text")  # published under either name
KINDS = {"1": "plane", "2": "phase", "3": "organ", "4": "abnormality", "5": "location"}
MAX_LINE_BYTES = 1 << 20  # a row is a few thousand bytes, its caption included
NO_CHOICE = "NA"  # what M3D's own generator writes for a question of fewer choices


def read_m3d(
    path: Path,
    *,
    root: Path | None = None,
    terms: TermFilter | None = None,
    max_bytes: int = MAX_TABLE_BYTES,
) -> QuestionSet:
    """Read a CSV of M3D-VQA; a bad row is skipped with one ``error`` finding.

    Questions of fewer than four choices end in ``NA`` ones; these are left out with a note. An
    empty cell is a missing choice, and an error.

    Args:
        root: folder that ``Image Path`` starts from; rows whose volume is not there are skipped.
            None checks only that the path could not lead out of it.
        terms: keeps the rows whose caption or question it keeps; the others are no finding. None
            keeps all.
        max_bytes: larger files are refused.

    Raises:
        InputError: the file is no such table in UTF-8, or has a line above `MAX_LINE_BYTES`.
    """
    _check_lines(path)
    ragged: list[InputError] = []
    try:
        table = read_table(path, required=ASKED, max_bytes=max_bytes, ragged=ragged)
    except InputError as error:
        if error.code != "wrong-encoding":
            raise
        fix = "save it as UTF-8"  # there is no option for any other here
        raise InputError(error.where, error.problem, fix, code=error.code) from error
    fewer: list[int] = []
    read = gather(_entries(table, path.name, root, terms, fewer))
    findings = [Finding.from_error(error) for error in ragged]
    if fewer:
        problem = f"{len(fewer)} questions have fewer than four choices"
        findings.append(Finding("fewer-choices", "note", path.name, problem))
    return replace(read, findings=(*findings, *read.findings))


def _check_lines(path: Path) -> None:
    """Refuse what would be held in memory whole before it is known to be no row."""
    try:
        with path.open("rb") as handle:
            lines = iter(lambda: handle.readline(MAX_LINE_BYTES + 1), b"")
            for number, line in enumerate(lines, start=1):
                if len(line) > MAX_LINE_BYTES:
                    problem = f"the line has more than {MAX_LINE_BYTES} bytes"
                    fix = "check that this is the right file"
                    raise InputError(
                        f"{path.name} line {number}", problem, fix, code="line-too-long"
                    )
    except OSError:
        return  # whoever reads it says why it cannot be


def _entries(
    table: pd.DataFrame,
    name: str,
    root: Path | None,
    terms: TermFilter | None,
    fewer: list[int],
) -> Iterator[tuple[str, Question | InputError]]:
    caption = next((column for column in CAPTIONS if column in table.columns), None)
    lines = table.index.tolist()
    for line, values in zip(lines, table.itertuples(index=False, name=None), strict=True):
        row = dict(zip(table.columns, values, strict=True))
        shown = f"{row[caption] if caption else ''} {row['Question']}"
        if terms is not None and not terms.keeps(shown):
            continue
        place = f"{name} line {line}"
        try:
            question = _question(row, place)
            check_volume(VolumeFile(row["Image Path"]), root)
        except InputError as error:
            yield place, error
            continue
        if len(question.choices) < len(CHOICES):
            fewer.append(line)
        yield place, question


def _question(row: Mapping[str, str], place: str) -> Question:
    choices = _choices(row, place)
    answer = _answer(row, choices, place)
    kind = KINDS.get(row["Question Type"].removesuffix(".0"))
    if kind is None:
        problem = f"Question Type is {row['Question Type'][:40]!r}, expected 1 to 5"
        raise InputError(place, problem, code="unknown-value")
    text = _plain(row["Question"])
    return Question(
        id=_identity(row["Image Path"], text, *sorted(choices)),
        image=VolumeFile(row["Image Path"]),
        text=text,
        kind=f"m3d-{kind}",
        answer=answer,
        choices=choices,
    )


@lru_cache(maxsize=1 << 16)  # the same organs and planes are named in most rows
def _plain(text: str) -> str:
    return clean_text(text)[0]


def _choices(row: Mapping[str, str], place: str) -> tuple[str, ...]:
    cells = [row[column] for column in CHOICES]
    while cells and cells[-1] == NO_CHOICE:
        cells.pop()
    missing = [
        column
        for column, cell in zip(CHOICES, cells, strict=False)
        if not cell or cell.casefold() in (NO_CHOICE.casefold(), "nan")
    ]
    if missing or len(cells) < 2:
        named = ", ".join(missing) or "all but one"
        fix = f"fill it in, or end a shorter question with {NO_CHOICE}"
        raise InputError(place, f"missing: {named}", fix, code="missing-choices")
    return tuple(_plain(cell) for cell in cells)


def _answer(row: Mapping[str, str], choices: tuple[str, ...], place: str) -> str:
    """The choice that is the answer, by its text and by its letter."""
    wanted = folded(_plain(row["Answer"]))
    by_text = [n for n, choice in enumerate(choices) if folded(choice) == wanted]
    if not by_text:
        problem = f"the answer {row['Answer'][:60]!r} is not among the choices"
        raise InputError(place, problem, code="answer-not-among-choices")
    letter = row["Answer Choice"].removesuffix(".").upper()
    if letter not in [column[-1] for column in CHOICES]:
        problem = f"Answer Choice is {row['Answer Choice'][:40]!r}, expected A, B, C or D"
        raise InputError(place, problem, code="unknown-value")
    if ord(letter) - ord("A") not in by_text:
        said = ", ".join(CHOICES[n] for n in by_text)
        problem = f"Answer Choice is {letter}, but the answer is {said}"
        raise InputError(place, problem, "correct one of them", code="answer-choice-disagrees")
    return choices[by_text[0]]


def _identity(*parts: str) -> str:
    """The same question with the same choices about the same volume has one id."""
    digest = hashlib.sha256("\n".join(folded(part) for part in parts).encode()).hexdigest()
    return f"m3d-{digest[:20]}"
