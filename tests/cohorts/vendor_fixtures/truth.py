"""What a fixture holds, so that a reader's answer can be compared with it cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

Key = tuple[str, str]


@dataclass
class Truth:
    """What a right reader finds.

    Attributes:
        cohort: name of the cohort.
        sessions: non-empty fields by (participant_id, session_id); the key, the cohort and
            ``label_defined_by`` are left out.
        scans: paths by the same key, the primary one first.
        refused: code of the one error finding by path; ``*`` for any code.
        findings: how often each code of a warning or note is found.
    """

    cohort: str
    sessions: dict[Key, dict[str, str]] = field(default_factory=dict)
    scans: dict[Key, list[str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    findings: Counter[str] = field(default_factory=Counter)

    def session(self, subject: str, session: str, scans: Sequence[str], **fields: str) -> None:
        """Note a session; its first scan is the primary one."""
        key = (f"{self.cohort}-{subject}", session)
        self.sessions[key] = fields
        self.scans[key] = list(scans)
