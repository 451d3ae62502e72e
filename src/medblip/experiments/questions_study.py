"""Whether a study has questions to be asked; of a simulated one they are written where missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from medblip.errors import InputError, UsageError
from medblip.experiments.trials import QUESTIONS, Trial
from medblip.storage import sha256_of_file, write_text
from medblip.study.study import Study
from medblip.vqa.question_file import QUESTIONS_FILE
from medblip.vqa.study_file import write_study_questions
from medblip.vqa.truth_tables import states_of

CLAIM_FILE = "questions.sha256"  # in an experiment's folder: which questions its runs learnt
NO_QUESTIONS = "No questions: table3, figure3 and figure4 are left out"


def asks_questions(trial: Trial) -> bool:
    return trial.setting.readout == QUESTIONS


def asking_at_most(trials: Sequence[Trial], most: int | None) -> list[Trial]:
    """The trials, of which those on questions ask at most so many of each kind."""
    return [
        replace(t, setting=replace(t.setting, most=most)) if asks_questions(t) else t
        for t in trials
    ]


def questions_at_hand(study: Study) -> bool:
    """Whether a study has questions, or is simulated and has its ground truth beside it."""
    return (study.folder / QUESTIONS_FILE).is_file() or bool(states_of(study))


def trials_on(study: Study, trials: Sequence[Trial], *, left_out: bool) -> list[Trial]:
    """The trials that can be run on a study: those on questions only where it has some.

    Args:
        left_out: leave them out; otherwise they were asked for by name.

    Raises:
        InputError: there are no questions, and none are left out.
    """
    if not any(map(asks_questions, trials)) or questions_at_hand(study):
        return list(trials)
    if not left_out:
        problem = "there are no questions, and no ground truth to make some from"
        fix = "write them with medblip questions"
        raise InputError(str(study.folder / QUESTIONS_FILE), problem, fix, code="no-questions")
    return [trial for trial in trials if not asks_questions(trial)]


def claim_questions(
    study: Study, out: Path, say: Callable[[str], None] = lambda line: None
) -> None:
    """Write a simulated study's questions where they are missing, and make the folder theirs.

    Raises:
        InputError: see `medblip.vqa.study_file.write_study_questions`.
        UsageError: the runs in the folder learnt other questions.
    """
    file, claim = study.folder / QUESTIONS_FILE, out / CLAIM_FILE
    if not file.is_file():
        written = write_study_questions(None, study)
        count = sum(sum(kinds.values()) for kinds in written.counts.values())
        say(f"Wrote {count} questions from the ground truth: {file}")
    found = sha256_of_file(file)
    if not claim.is_file():
        write_text(claim, f"{found}\n")
    elif claim.read_text(encoding="utf-8").strip() != found:
        problem = "runs in this folder learnt other questions than the study has now"
        raise UsageError(str(out), problem, "choose another --out", code="other-questions")
