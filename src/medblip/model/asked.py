"""What is asked: scans, records and questions, given singly or in lists, in line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medblip.errors import UsageError
from medblip.model.image_processing_medblip import VolumeInput, as_list
from medblip.study.labels import QUESTION


@dataclass(frozen=True)
class Asked:
    """One prompt before it is tokens.

    Attributes:
        volume: any kind of scan; None asks about the record alone.
        record: may be empty, which asks about the scan alone.
        previous: an earlier scan of the same subject, to compare with; None where there is none.

    Raises:
        UsageError: a previous scan without a current one.
    """

    volume: VolumeInput | None = None
    record: str = ""
    question: str = QUESTION
    previous: VolumeInput | None = None

    def __post_init__(self) -> None:
        if self.previous is not None and self.volume is None:
            problem = "a previous scan was given without a current one"
            raise UsageError("previous", problem, "give the current scan as the volume")

    @property
    def scans(self) -> list[VolumeInput]:
        """In the order in which the prompt announces them."""
        return [scan for scan in (self.previous, self.volume) if scan is not None]


def line_up(
    volumes: VolumeInput | Sequence[VolumeInput] | None,
    records: str | Sequence[str] | None,
    questions: str | Sequence[str] | None,
    previous: VolumeInput | Sequence[VolumeInput | None] | None = None,
) -> list[Asked]:
    """One :class:`Asked` for each prompt; a single record or question serves all.

    Raises:
        UsageError: the lists differ in length, or nothing was given.
    """
    scans, earlier = as_list(volumes), as_list(previous)
    count = max(len(scans), len(as_list(records)), len(as_list(questions)), len(earlier))
    if count == 0:
        raise UsageError("processor", "no volume, record or question was given")
    texts = _repeat("records", as_list(records) or [""], count)
    asked = _repeat("questions", as_list(questions) or [QUESTION], count)
    if scans and len(scans) != count:
        raise UsageError("volumes", f"{len(scans)} for {count} prompts; give one each")
    if earlier and len(earlier) != count:
        problem = f"{len(earlier)} for {count} prompts; give one each, None where there is none"
        raise UsageError("previous", problem)
    nothing = [None] * count
    rows = zip(scans or nothing, texts, asked, earlier or nothing, strict=True)
    return [Asked(*row) for row in rows]


def _repeat(name: str, values: list[Any], count: int) -> list[Any]:
    if len(values) == count:
        return values
    if len(values) == 1:
        return values * count
    raise UsageError(name, f"{len(values)} for {count} prompts; give one, or one each")
