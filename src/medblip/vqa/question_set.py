"""Questions that were read, and what was found wrong with those that were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from medblip.errors import InputError, PartlyDoneError
from medblip.findings import Finding
from medblip.vqa.questions import Question


@dataclass(frozen=True)
class QuestionSet:
    """What a reader made of a file.

    Attributes:
        questions: in the order of the file.
        findings: an ``error`` for each entry that was skipped; notes lose nothing.
    """

    questions: tuple[Question, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def skipped(self) -> int:
        """Entries that were not used."""
        return sum(finding.level == "error" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by code."""
        return dict(Counter(finding.code for finding in self.findings))

    def require_all(self, where: str) -> None:
        """Raise PartlyDoneError (exit code 4) if an entry was skipped."""
        if not self.skipped:
            return
        errors = Counter(f.code for f in self.findings if f.level == "error")
        listed = ", ".join(f"{n} {code}" for code, n in errors.most_common())
        total = len(self.questions) + self.skipped
        problem = f"{self.skipped} of {total} questions were skipped: {listed}"
        raise PartlyDoneError(where, problem, "see the findings", code="questions-skipped")


def gather(entries: Iterable[tuple[str, Question | InputError]]) -> QuestionSet:
    """The set of what was read, with a finding for each error and for each id seen before."""
    questions: dict[str, Question] = {}
    findings: list[Finding] = []
    for place, entry in entries:
        if isinstance(entry, InputError):
            findings.append(Finding.from_error(entry, place))
        elif entry.id in questions:
            problem = f"the id {entry.id!r} was there before; the first one is kept"
            fix = "give each question its own id"
            findings.append(Finding("duplicate-question", "error", place, problem, fix))
        else:
            questions[entry.id] = entry
    return QuestionSet(tuple(questions.values()), tuple(findings))
