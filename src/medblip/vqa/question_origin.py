"""Where a file of questions came from: a small file beside it, e.g. ``m3d.origin.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from medblip.errors import InputError
from medblip.storage import sha256_of_file, write_text
from medblip.vqa.filter_terms import TermFilter

MAX_BYTES = 1 << 20

Modality = Literal["CT", "MRI"]

_OUTSIDE = "The model was trained on T1-weighted MRI"
MODALITY_TOLD: dict[Modality | None, str] = {
    "CT": f"These volumes are CT. {_OUTSIDE}: they are out of its distribution.",
    "MRI": f"These volumes are MRI. {_OUTSIDE} alone: other sequences are out of its distribution.",
    None: f"The modality of these volumes is not known. {_OUTSIDE}: all else is out of its "
    "distribution.",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterFacts(_Strict):
    """What `TermFilter` did: rows seen and kept, and by term the rows that hold it."""

    seen: int
    kept: int
    only_weak: int
    by_term: dict[str, int]

    @classmethod
    def of(cls, terms: TermFilter) -> Self:
        counts = terms.counts
        return cls(
            seen=counts.seen,
            kept=counts.kept,
            only_weak=counts.only_weak,
            by_term=dict(counts.by_term.most_common()),
        )


class QuestionOrigin(_Strict):
    """Where the questions of a file came from.

    Attributes:
        data_set: its name.
        modality: of its volumes.
        filter: what kept a part of its rows; None where all were taken.
        questions_sha256: of the file that this stands beside.
    """

    data_set: str
    modality: Modality
    filter: FilterFacts | None = None
    questions_sha256: str = ""

    def write(self, questions: Path) -> Path:
        """Write it beside a file of questions that is whole; returns where."""
        told = self.model_copy(update={"questions_sha256": sha256_of_file(questions)})
        path = origin_path(questions)
        write_text(path, told.model_dump_json(indent=2) + "\n")
        return path

    @classmethod
    def beside(cls, questions: Path) -> Self | None:
        """What stands beside a file of questions; None where nothing does.

        Raises:
            InputError: it cannot be read, or stood beside another file.
        """
        path = origin_path(questions)
        if not path.exists():
            return None
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
            origin = cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            problem = f"does not say where the questions came from ({type(error).__name__})"
            raise InputError(path.name, problem, _FIX, code="bad-origin") from error
        if origin.questions_sha256 != sha256_of_file(questions):
            problem = f"{questions.name} has been changed since, so its counts may not hold"
            raise InputError(path.name, problem, _FIX, code="other-questions")
        return origin


_FIX = "write the questions again with medblip questions, or delete this file"


def origin_path(questions: Path) -> Path:
    return questions.with_suffix(".origin.json")
