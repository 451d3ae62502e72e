"""Trials one after another: train, score, keep; what is finished is not done again.

Several processes may run trials into one folder: each leaves alone what another one works on.
"""

from __future__ import annotations

import gc
import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medblip.errors import MedBlipError
from medblip.experiments.code_state import code_state
from medblip.experiments.columns import ColumnSet, columns_of
from medblip.experiments.hours import Hours
from medblip.experiments.kept import ANY_TABLE, Kept
from medblip.experiments.questions_study import asks_questions
from medblip.experiments.scoring import Caches, records_of
from medblip.experiments.sharing import claimed
from medblip.experiments.shown_fields import shown_record
from medblip.experiments.study_controls import control_inputs, study_controls
from medblip.experiments.trials import Trial, distinct
from medblip.recipe import RecordSection
from medblip.storage import write_text
from medblip.study.soundness import require_sound
from medblip.study.study import Study
from medblip.training.interrupts import StoppedError
from medblip.training.run import train

ERROR_FILE = "error.txt"
OWN_TOKENS = "tokens"  # of a run whose encoder no other run has


@dataclass(frozen=True)
class Failure:
    """A trial that did not end, and why in one line."""

    trial: Trial
    error: str


@dataclass(frozen=True)
class Runner:
    """Runs trials on a study into a folder.

    Attributes:
        study: trained and tested on.
        kept, hours: of the folder.
        caches: of cubes and tokens.
        accept_audit, accept_changes: see `medblip.training.run.train`.
        say: gets one line a trial.
        progress: show bars.
        code: that runs; told beforehand, since files may change while trials run.
    """

    study: Study
    kept: Kept
    hours: Hours
    caches: Caches
    accept_audit: Sequence[str] = ()
    accept_changes: Sequence[str] = ()
    say: Callable[[str], None] = lambda line: None
    progress: bool = True
    code: str = field(default_factory=code_state)

    def run(self, trials: Sequence[Trial]) -> list[Failure]:
        """Run what is not finished. One that fails is noted, and the next one begins.

        What another process works on is left to it, and looked at once more at the end.

        Returns:
            The failures of this process.

        Raises:
            InputError: the study has an error that no trial would survive, or no test set.
            UsageError: the folder holds experiments on another study.
            StoppedError: a signal came; what was done is kept.
        """
        require_sound(self.study, self.accept_audit)
        self.kept.claim(self.study)
        if not trials:
            return []
        columns = columns_of(self.study)  # without anybody to test on, no trial begins
        if not all(map(asks_questions, trials)):
            self._simple_controls(columns, shown_record(trials))
        self.kept.write_records(self.kept.gather(trials))
        todo = [t for t in distinct(trials) if not self.kept.finished(t)]
        failures, elsewhere = self._go_through(todo, trials)
        if elsewhere:  # some may be finished by now, or left behind by a process that died
            more, elsewhere = self._go_through(elsewhere, trials)
            failures += more
        if elsewhere:
            titles = "; ".join(trial.title for trial in elsewhere)
            self.say(f"Missing here, since another process works on them: {titles}")
        return failures

    def _go_through(
        self, todo: Sequence[Trial], trials: Sequence[Trial]
    ) -> tuple[list[Failure], list[Trial]]:
        """Run what is free of ``todo``.

        Args:
            trials: all that were asked for.

        Returns:
            Those that failed, and those that other processes work on.
        """
        failures: list[Failure] = []
        elsewhere: list[Trial] = []
        for number, trial in enumerate(todo, start=1):
            if self.kept.finished(trial):
                continue
            with claimed(self.kept.run(trial)) as ours:
                if not ours:
                    elsewhere.append(trial)
                elif not self.kept.finished(trial):  # in the moment before it was free
                    self.say(self._heading(number, todo, trials))
                    failures += self._attempt(trial)
            self.kept.write_records(self.kept.gather(trials))
        return failures, elsewhere

    def _simple_controls(self, columns: Sequence[ColumnSet], record: RecordSection) -> None:
        inputs = control_inputs(self.study, record)
        if self.kept.simple_controls(inputs) is None:
            self.say("Simple models of the study")
            found = study_controls(self.study, columns, self.caches.cubes, ANY_TABLE, record)
            self.kept.keep_simple_controls(found, inputs)

    def _heading(self, number: int, todo: Sequence[Trial], trials: Sequence[Trial]) -> str:
        rest = [t for t in todo[number - 1 :] if not self.kept.finished(t)]
        left = self.hours.expected(rest, filter(self.kept.finished, distinct(trials)))
        told = "time left not known" if left is None else f"about {left:.1f} h left"
        title, spent = todo[number - 1].title, self.hours.total
        return f"[{number}/{len(todo)}] {title}; {spent:.1f} h spent so far, {told}"

    def _attempt(self, trial: Trial) -> list[Failure]:
        """Run a trial that this process has; the failure, if it is one."""
        try:
            self._run(trial)
        except StoppedError as error:
            folder = str(self.kept.folder)
            fix = "the same command goes on from here"
            raise type(error)(folder, error.problem, fix, code=error.code) from error
        except Exception as error:  # whatever it is, the other trials are worth their hours
            return [self._failed(trial, error)]
        finally:
            gc.collect()  # a model in a cycle of references would stay beside the next one
        self.hours.end(trial, self.code)
        return []

    def _run(self, trial: Trial) -> None:
        run, caches = self.kept.run(trial), self._caches(trial)
        with self.hours.timing(trial, "training_s"):
            train(
                trial.recipe,
                self.study,
                run,
                cubes=caches.cubes,
                tokens=caches.tokens,
                accept_audit=self.accept_audit,
                accept_changes=self.accept_changes,
                progress=self.progress,
            )
        with self.hours.timing(trial, "scoring_s"):
            records = records_of(trial, run, self.study, caches, progress=self.progress)
        self.kept.keep(trial, records)
        _tidy(run)

    def _caches(self, trial: Trial) -> Caches:
        """An encoder that this trial alone has keeps its tokens in the run, to be tidied away."""
        stages = trial.recipe.stages().items()
        alone = any(stage.runs and trial.recipe.learns_entry(name) for name, stage in stages)
        if not alone:
            return self.caches
        return Caches(self.caches.cubes, self.kept.run(trial) / OWN_TOKENS)

    def _failed(self, trial: Trial, error: Exception) -> Failure:
        told = str(error) if isinstance(error, MedBlipError) else f"{type(error).__name__}: {error}"
        line = " ".join(told.split())
        self.hours.fail(trial, line)
        write_text(self.kept.run(trial) / ERROR_FILE, traceback.format_exc())
        self.say(f"Failed: {trial.title}: {line}")
        return Failure(trial, line)


def _tidy(run: Path) -> None:
    """Remove what only an unfinished run needs: checkpoints, and tokens of its own encoder."""
    for folder in (*run.glob("*/checkpoint-*"), run / OWN_TOKENS):
        shutil.rmtree(folder, ignore_errors=True)
    (run / ERROR_FILE).unlink(missing_ok=True)
