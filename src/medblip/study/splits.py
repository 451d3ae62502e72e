"""Who trains, who validates, who tests: by subject, seeded, stratified, and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from medblip.errors import InputError, UsageError
from medblip.storage import write_json
from medblip.study.info import SIMULATED_PREFIX
from medblip.study.order import first_labelled
from medblip.study.tables import nearest

SplitName = Literal["train", "validation", "test", "zero_shot"]

SPLITS: tuple[SplitName, ...] = get_args(SplitName)
FRACTIONS = (0.7, 0.1, 0.2)  # train, validation, test
SPLITS_VERSION = 1

RULE = (
    "Subjects of the zero-shot cohorts go to zero_shot. All others are sorted by cohort, diagnosis "
    "of their first labelled session, and SHA-256 of '<seed>:<participant_id>'; going down that "
    "list, each subject goes to the part of train, validation and test that is furthest below its "
    "fraction of the subjects seen so far. Subjects of same_person stay together, where the first "
    "of them falls; with one in a zero-shot cohort, the others go to test."
)
DEFAULT_ZERO_SHOT = ("AIBL", "MIRIAD")  # the paper never trains on them
NEVER_TRAINED: tuple[SplitName, ...] = ("test", "zero_shot")


@dataclass(frozen=True)
class Splits:
    """Lists of ``participant_id`` and the rule that made them; `splits.json` in memory.

    Attributes:
        same_person: groups of subjects that a table names as one person, as in two cohorts.
    """

    seed: int
    fractions: tuple[float, float, float]
    zero_shot_cohorts: tuple[str, ...]
    subjects: dict[SplitName, tuple[str, ...]]
    rule: str = RULE
    same_person: tuple[tuple[str, ...], ...] = ()

    def split_of(self) -> dict[str, SplitName]:
        """Subject -> split."""
        return {subject: split for split in SPLITS for subject in self.subjects[split]}

    def write(self, path: Path) -> None:
        """Write ``splits.json``."""
        value: dict[str, Any] = {
            "version": SPLITS_VERSION,
            "rule": self.rule,
            "seed": self.seed,
            "fractions": dict(zip(SPLITS[:3], self.fractions, strict=True)),
            "zero_shot_cohorts": list(self.zero_shot_cohorts),
            "same_person": [list(group) for group in self.same_person],
            **{split: list(self.subjects[split]) for split in SPLITS},
        }
        write_json(path, value)

    @classmethod
    def read(cls, path: Path) -> Splits:
        """Read ``splits.json``; InputError if it is not of this form."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["version"] != SPLITS_VERSION:
                raise ValueError(f"version {value['version']}, expected {SPLITS_VERSION}")
            train, validation, test = (float(value["fractions"][name]) for name in SPLITS[:3])
            return cls(
                seed=int(value["seed"]),
                fractions=(train, validation, test),
                zero_shot_cohorts=tuple(_names(value["zero_shot_cohorts"])),
                subjects={split: tuple(_names(value[split])) for split in SPLITS},
                rule=str(value["rule"]),
                same_person=tuple(tuple(_names(group)) for group in value.get("same_person", [])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"not a list of splits: {type(error).__name__} {error}"
            fix = "run medblip prepare again"
            raise InputError(path.name, problem, fix, code="bad-splits") from error


def make_splits(
    sessions: pd.DataFrame,
    *,
    zero_shot: Sequence[str] = (),
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    same_person: Sequence[Sequence[str]] = (),
) -> Splits:
    """Part the subjects of ``sessions``; the result does not depend on the order of its rows.

    Args:
        sessions: columns ``participant_id, cohort, session_id, diagnosis, scan_date,
            days_from_baseline``.
        zero_shot: cohorts never trained on.
        fractions: shares of train, validation and test; they add up to 1.
        seed: another seed draws another partition of the same sizes.
        same_person: groups of subjects that are one person; no subject is in two groups. Equal
            identifiers in two cohorts are two people unless they are listed here.

    Raises:
        UsageError: a fraction or a cohort's name is wrong.
    """
    parts = check_fractions(fractions)
    cohort_of = dict(zip(sessions["participant_id"], sessions["cohort"], strict=True))
    check_cohorts(zero_shot, set(cohort_of.values()))
    first = first_labelled(sessions)
    diagnosis_of = dict(zip(first["participant_id"], first["diagnosis"], strict=True))

    subjects: dict[SplitName, list[str]] = {split: [] for split in SPLITS}
    drawn = []
    groups = _groups(same_person, set(cohort_of))
    group_of = {subject: group for group in groups for subject in group}
    held_out = {subject for subject, cohort in cohort_of.items() if cohort in zero_shot}
    for subject, cohort in cohort_of.items():
        if subject in held_out:
            subjects["zero_shot"].append(subject)
        elif held_out.intersection(group_of.get(subject, ())):
            subjects["test"].append(subject)
        else:
            drawn.append((cohort, diagnosis_of.get(subject, ""), _draw(seed, subject), subject))
    in_line = [subject for *_, subject in sorted(drawn)]
    for subject, split in _deal(in_line, parts, group_of):
        subjects[split].append(subject)
    return Splits(
        seed=seed,
        fractions=parts,
        zero_shot_cohorts=tuple(zero_shot),
        subjects={split: tuple(sorted(names)) for split, names in subjects.items()},
        same_person=groups,
    )


def zero_shot_by_default(cohorts: Iterable[str]) -> tuple[str, ...]:
    """Those of AIBL and MIRIAD that are there, simulated or not, beside a cohort to train on."""
    present = sorted(set(cohorts))
    held_out = [c for c in present if c.removeprefix(SIMULATED_PREFIX) in DEFAULT_ZERO_SHOT]
    return tuple(held_out) if len(held_out) < len(present) else ()


def check_splits(splits: Splits, sessions: pd.DataFrame, where: str = "splits.json") -> None:
    """Raise InputError unless each subject is in exactly one split, zero-shot cohorts in theirs.

    Messages give counts, never identifiers.
    """
    listed = [subject for split in SPLITS for subject in splits.subjects[split]]
    twice = len(listed) - len(set(listed))
    if twice:
        raise InputError(
            where,
            f"{twice} subject(s) are listed on two sides, expected each subject once",
            "remove them from all but one list, or run medblip prepare again",
            code="subject-on-two-sides",
        )
    subjects = set(sessions["participant_id"])
    missing, unknown = len(subjects - set(listed)), len(set(listed) - subjects)
    if missing or unknown:
        problem = f"{missing} subject(s) of sessions.tsv are in no split, {unknown} are unknown"
        fix = "run medblip prepare again"
        raise InputError(where, problem, fix, code="splits-mismatch")
    held_out = sessions["cohort"].isin(splits.zero_shot_cohorts)
    for cohorts_match, rows in ((True, sessions[held_out]), (False, sessions[~held_out])):
        in_zero_shot = rows["participant_id"].isin(splits.subjects["zero_shot"])
        wrong = rows.loc[in_zero_shot != cohorts_match, "participant_id"].nunique()
        if wrong:
            side = "are trained or tested on" if cohorts_match else "are listed as zero_shot"
            kind = "a zero-shot" if cohorts_match else "another"
            problem = f"{wrong} subject(s) of {kind} cohort {side}"
            fix = "correct the list or zero_shot_cohorts"
            raise InputError(where, problem, fix, code="zero-shot-in-training")
    _check_people(splits, where)


def _check_people(splits: Splits, where: str) -> None:
    """One person under several identifiers is on one side, or on two that are never trained on."""
    side = splits.split_of()
    sides = [{side[name] for name in group if name in side} for group in splits.same_person]
    torn = sum(len(parts) > 1 and not parts <= set(NEVER_TRAINED) for parts in sides)
    if torn:
        problem = f"{torn} person(s) with several identifiers are on two sides"
        fix = "move all identifiers of a person to one list"
        raise InputError(where, problem, fix, code="person-on-two-sides")


def _groups(same_person: Sequence[Sequence[str]], known: set[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of at least two subjects of this study, in one order."""
    kept = (tuple(sorted(known.intersection(group))) for group in same_person)
    return tuple(sorted(group for group in kept if len(group) > 1))


def _deal(
    subjects: Iterable[str],
    fractions: tuple[float, float, float],
    group_of: Mapping[str, tuple[str, ...]],
) -> Iterable[tuple[str, SplitName]]:
    """Deal subjects out one by one, so that every stretch of the list has about the fractions."""
    dealt = [0, 0, 0]
    taken: dict[tuple[str, ...], int] = {}  # where the first of a group fell
    for count, subject in enumerate(subjects, start=1):
        deficits = [f * count - n for f, n in zip(fractions, dealt, strict=True)]
        index = max(range(3), key=deficits.__getitem__)
        if subject in group_of:
            index = taken.setdefault(group_of[subject], index)
        dealt[index] += 1
        yield subject, SPLITS[index]


def _draw(seed: int, subject: str) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """The three shares as floats; UsageError unless they are three and add up to 1."""
    whole = abs(sum(fractions) - 1) <= 1e-6  # false for NaN too
    if len(fractions) != 3 or min(fractions) < 0 or not whole:
        problem = f"found {tuple(fractions)}, expected three shares of at least 0 that add up to 1"
        fix = "e.g. 0.7 0.1 0.2 for train, validation and test"
        raise UsageError("fractions", problem, fix, code="bad-fractions")
    train, validation, test = (float(fraction) for fraction in fractions)
    return (train, validation, test)


def check_cohorts(zero_shot: Sequence[str], cohorts: set[str]) -> None:
    """UsageError unless each of ``zero_shot`` is one of ``cohorts``."""
    for cohort in zero_shot:
        if cohort not in cohorts:
            fix = nearest(cohort, cohorts) or f"the cohorts are: {', '.join(sorted(cohorts))}"
            problem = f"there is no cohort {cohort!r}"
            raise UsageError("zero_shot", problem, fix, code="unknown-cohort")


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("expected a list of names")
    return value
