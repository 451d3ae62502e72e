"""Every analysis of a finished experiment's folder, each kept once it is made.

What cannot be analysed is said in a sentence: hours of training are not lost for it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from medblip.errors import MedBlipError
from medblip.experiments.analyses import (
    calibration,
    decisions,
    groups,
    low_data,
    perturbed,
    selective,
)
from medblip.experiments.analyses.answers import Answers, ScoredRun, read_answers
from medblip.experiments.analyses.estimate import Kept as Found
from medblip.experiments.analyses.keeping import FOLDER, kept_or_made
from medblip.experiments.analyses.part import Part
from medblip.experiments.analyses.simple_answers import simple_answers
from medblip.experiments.columns import ColumnSet, columns_of
from medblip.experiments.kept import Kept
from medblip.experiments.paper_tables import LOW_DATA
from medblip.experiments.records import RunRecord
from medblip.experiments.scoring import Caches
from medblip.experiments.shown_fields import shown_record
from medblip.experiments.study_controls import VERSION as SIMPLE_VERSION
from medblip.experiments.study_controls import control_inputs
from medblip.experiments.trials import Trial, distinct
from medblip.storage import write_text
from medblip.study.study import Study
from medblip.training.interrupts import StoppedError

RESAMPLES = 1000  # of intervals over subjects: a percent of the ends is not worth the minutes
PERTURBED_RUNS = 1  # each takes some minutes: every changed scan goes through the vision encoder

Kind = TypeVar("Kind", bound=Found)


@dataclass(frozen=True)
class _Analysis(Generic[Kind]):
    """What is made of answers, and how it is shown."""

    key: str
    title: str
    version: int
    kind: type[Kind]
    part: Callable[[Kind], Part]


_DECISIONS = _Analysis(
    decisions.KEY, decisions.TITLE, decisions.VERSION, decisions.AllDecisions, decisions.part
)
_CALIBRATION = _Analysis(
    calibration.KEY,
    calibration.TITLE,
    calibration.VERSION,
    calibration.Calibration,
    calibration.part,
)
_SELECTIVE = _Analysis(
    selective.KEY, selective.TITLE, selective.VERSION, selective.Selective, selective.part
)
_GROUPS = _Analysis(groups.KEY, groups.TITLE, groups.VERSION, groups.Subgroups, groups.part)
_PERTURBED = _Analysis(
    perturbed.KEY, perturbed.TITLE, perturbed.VERSION, perturbed.Perturbed, perturbed.part
)
_LOW_DATA = _Analysis(
    low_data.KEY, low_data.TITLE, low_data.VERSION, low_data.LowData, low_data.part
)


@dataclass(frozen=True)
class Analyst:
    """Analyses what trials left in a folder.

    Attributes:
        study: trained and tested on.
        kept: of the folder.
        trials: that were asked for; those of them that give the controls are the full model's.
        records: of these trials.
        caches: of cubes and tokens.
        n_resamples: of every interval.
        perturbed_runs: how many runs are shown perturbed scans, in the order of the seeds.
        say: gets one line for what is computed.
        progress: show bars.
    """

    study: Study
    kept: Kept
    trials: Sequence[Trial]
    records: Sequence[RunRecord]
    caches: Caches
    n_resamples: int = RESAMPLES
    perturbed_runs: int = PERTURBED_RUNS
    say: Callable[[str], None] = lambda line: None
    progress: bool = True

    def parts(self) -> list[Part]:
        """Every analysis that the trials are for, done or with a sentence on why not.

        Raises:
            StoppedError: a signal came; what was done is kept.
        """
        return [*self._of_the_full_model(), *self._of_low_data()]

    def _of_the_full_model(self) -> Iterator[Part]:
        if not any(trial.setting.controls for trial in self.trials):
            return
        if not self.runs:
            said = "Not done: no run of the full model came to its end."
            yield Part("full_model", "Analyses of the full model", said)
            return
        runs, few, n = self.runs, self.runs[: self.perturbed_runs], self.n_resamples
        yield self._done(_DECISIONS, runs, self._decisions, beside=self._simple)
        yield self._done(_CALIBRATION, runs, lambda: calibration.calibration(self.answers, n))
        yield self._done(_SELECTIVE, runs, lambda: selective.selective(self.answers, n))
        yield self._done(_GROUPS, runs, lambda: groups.subgroups(self.answers, self.study, n))
        yield self._done(
            _PERTURBED,
            few,
            lambda: perturbed.perturbed(few, self.columns, self.caches, n, progress=self.progress),
        )

    def _of_low_data(self) -> Iterator[Part]:
        shares = [trial for trial in self.trials if trial.table == LOW_DATA]
        if shares:
            train = self.study.examples("train")
            yield self._done(
                _LOW_DATA,
                [self._scored(trial) for trial in shares if self._finished(trial)],
                lambda: low_data.low_data(self.records, train, self.n_resamples),
                beside=self._simple,
            )

    @cached_property
    def runs(self) -> list[ScoredRun]:
        """Finished runs of the full model, in the order of their seeds."""
        full = [t for t in distinct(self.trials) if t.setting.controls and self._finished(t)]
        return [self._scored(trial) for trial in sorted(full, key=lambda trial: trial.seed)]

    @cached_property
    def shown(self) -> Study:
        """The study as the full model's runs saw it: fields that an override drops, all drop."""
        return self.runs[0].trial.study(self.study)

    @cached_property
    def columns(self) -> list[ColumnSet]:
        return columns_of(self.shown)

    @cached_property
    def answers(self) -> Answers:
        return read_answers(
            self.runs, self.shown, self.columns, self.caches, progress=self.progress
        )

    def _decisions(self) -> decisions.AllDecisions:
        record = shown_record(self.trials)
        simple = simple_answers(self.study, columns_of(self.study), self.caches.cubes, record)
        return decisions.decisions(self.answers, simple, self.n_resamples)

    @cached_property
    def _simple(self) -> list[str]:
        """What the simple models depend on."""
        inputs = control_inputs(self.study, shown_record(self.trials))
        return [f"simple models {SIMPLE_VERSION}", *inputs]

    def _finished(self, trial: Trial) -> bool:
        return self.kept.records(trial) is not None

    def _scored(self, trial: Trial) -> ScoredRun:
        return ScoredRun(trial, self.kept.run(trial))

    def _done(
        self,
        analysis: _Analysis[Kind],
        runs: Sequence[ScoredRun],
        make: Callable[[], Kind],
        beside: Sequence[str] = (),
    ) -> Part:
        """An analysis, or why there is none; ``beside`` is what it depends on besides the runs."""
        on = [*(run.trial.run for run in runs), f"{self.n_resamples} resamples", *beside]

        def make_and_tell() -> Kind:
            self.say(f"Analysis: {analysis.title}")
            return make()

        try:
            found = kept_or_made(
                self.kept.folder, analysis.key, analysis.version, on, analysis.kind, make_and_tell
            )
            return analysis.part(found)
        except StoppedError:
            raise
        except MedBlipError as error:
            why = error.problem
        except Exception as error:  # whatever it is, the tables are worth their hours
            why = f"{type(error).__name__}: {error}"
            file = self.kept.folder / FOLDER / f"{analysis.key}.error.txt"
            write_text(file, traceback.format_exc())
        self.say(f"Analysis not done: {analysis.title}: {why}")
        return Part(analysis.key, analysis.title, f"Not done: {why}.")
