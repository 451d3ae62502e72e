"""What a user may set about reading OASIS-1 and OASIS-2."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import UsageError
from medblip.study.labels import LABELS, OTHER
from medblip.study.tables import nearest

KINDS = ("averaged", "raw", "registered", "skull-stripped")


@dataclass(frozen=True)
class OasisOptions:
    """Settings of `medblip.cohorts.oasis.read_oasis1` and ``read_oasis2``.

    Attributes:
        kinds: which images of a session are read, the kind of the primary one first. The default
            prefers a head with its skull in its own space, as in the other cohorts: the average
            of all runs, else the first run. OASIS-2 has raw runs only.
        half_cdr: diagnosis that CDR 0.5 (very mild dementia) stands for: AD as in Clinica, or
            MCI, OTHER, or ``""`` for none.
        neurite_kinds: kind of each image of Neurite-OASIS. **Unverified**; used with a note.

    Raises:
        UsageError: an unknown kind, or a ``half_cdr`` that is no diagnosis.
    """

    kinds: tuple[str, ...] = KINDS
    half_cdr: str = "AD"
    neurite_kinds: tuple[tuple[str, str], ...] = (
        ("orig", "averaged"),
        ("norm", "skull-stripped"),
        ("aligned_orig", "registered"),
        ("aligned_norm", "registered"),
    )

    def __post_init__(self) -> None:
        for kind in (*self.kinds, *(kind for _, kind in self.neurite_kinds)):
            if kind not in KINDS:
                fix = nearest(kind, KINDS) or f"the kinds are {', '.join(KINDS)}"
                raise UsageError("kinds", f"{kind!r} is no kind", fix, code="unknown-kind")
        if self.half_cdr not in (*LABELS, OTHER, ""):
            problem = f"half_cdr is {self.half_cdr!r}"
            fix = f"use one of {', '.join((*LABELS, OTHER))}, or an empty text for none"
            raise UsageError("half_cdr", problem, fix, code="unknown-diagnosis")
