"""``medblip experiment``: a table of the paper, or all of them, run on a study into a folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medblip.experiments.aggregate import RESAMPLES
from medblip.experiments.analyses.analyse import Analyst
from medblip.experiments.columns import columns_of
from medblip.experiments.hours import Hours
from medblip.experiments.kept import Kept
from medblip.experiments.matrix import ALL, COUNTED, FIGURES, RecipeSize, Size, trials_of
from medblip.experiments.outcome import Circumstances, Outcome, write_outcome
from medblip.experiments.paper_tables import table_name
from medblip.experiments.questions_results import WHAT, question_results
from medblip.experiments.questions_study import (
    NO_QUESTIONS,
    asking_at_most,
    asks_questions,
    claim_questions,
    trials_on,
)
from medblip.experiments.runner import Failure, Runner
from medblip.experiments.scoring import Caches
from medblip.experiments.shown_fields import noting_shown_fields
from medblip.experiments.table1 import table_1
from medblip.experiments.tiny_size import size_named
from medblip.experiments.trials import Trial, distinct
from medblip.study.study import Study
from medblip.training.precision import pick_device, resolve_precision
from medblip.training.run_folder import environment

SEEDS = (0, 1, 2)
SHOWN_FACTS = ("torch", "transformers", "device", "precision", "threads", "machine")


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        what: see `medblip.experiments.matrix.trials_of`.
        study: folder.
        out: folder of runs, records and results.
        size: of the recipes.
        seeds: of each setting.
        overrides: recipe values for all trials; those that make a setting come after them.
        most: so many questions of each kind are asked; None for all.
        recipes, trials: all that follows from these.

    Raises:
        InputError, UsageError: on construction, where a recipe or a value cannot be used.
    """

    what: str
    study: Path
    out: Path
    size: RecipeSize = "embedded"
    seeds: tuple[int, ...] = SEEDS
    overrides: tuple[str, ...] = ()
    most: int | None = None
    recipes: Size = field(init=False)
    trials: tuple[Trial, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipes", size_named(self.size))
        trials = trials_of(self.what, self.recipes, self.seeds, self.overrides)
        found = tuple(asking_at_most(trials, self.most))
        distinct(found)  # a recipe that cannot be read is told before the first hour
        object.__setattr__(self, "trials", found)

    @property
    def command(self) -> str:
        """The shell line that runs this."""
        seeds = ("--seeds", ",".join(map(str, self.seeds)))
        words = ["medblip", "experiment", self.what, *self.overrides, "--study", str(self.study)]
        words += ["--out", str(self.out), "--recipe-size", self.size, *seeds]
        words += [] if self.most is None else ["--most", str(self.most)]
        return shlex.join(words)

    @property
    def tables(self) -> list[int]:
        """Those that are shown: of the trials of a figure, none."""
        shown = () if self.what in FIGURES else self.trials
        return sorted({trial.table for trial in shown})

    def trials_on(self, study: Study) -> list[Trial]:
        """The trials that can be run on a study.

        Raises:
            InputError: it has no questions, and they were asked for by name.
        """
        return trials_on(study, self.trials, left_out=self.what == ALL)


@dataclass(frozen=True)
class Listed:
    """A trial of a dry run.

    Attributes:
        uses: its rows, e.g. ``Table 2, smollm2.lora``.
        hours: expected; 0 for one that is finished, None where not known.
    """

    trial: Trial
    uses: tuple[str, ...]
    finished: bool
    hours: float | None


def experiment(
    plan: Plan,
    *,
    cubes: Path,
    tokens: Path,
    accept_audit: Sequence[str] = (),
    accept_changes: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    progress: bool = True,
    n_resamples: int = RESAMPLES,
) -> Outcome:
    """Run a plan, going on where it stopped, and write ``experiments.html`` and ``results.json``.

    Called in several processes at once, on one folder, they share the trials.

    Args:
        cubes, tokens: the volume cache's folder and that of token caches.
        accept_audit, accept_changes: see `medblip.training.run.train`.
        say: gets one line a trial.
        n_resamples: of every interval.

    Raises:
        InputError: a recipe, the study, or what lies in the folder cannot be used.
        UsageError: the folder holds experiments on another study.
        StoppedError: a signal came; the same call goes on.
    """
    study = Study.load(plan.study)
    trials = plan.trials_on(study)
    _prepare_questions(plan, study, trials, say)
    runner = Runner(
        study,
        Kept(plan.out),
        Hours.read(plan.out),
        Caches(cubes, tokens),
        accept_audit,
        accept_changes,
        say,
        progress,
    )
    failures = runner.run(trials)
    while True:
        finished = list(filter(runner.kept.finished, trials))
        outcome = _tell(plan, runner, trials, failures, n_resamples)
        # What another process finished meanwhile would be missing where it had told it already.
        if finished == list(filter(runner.kept.finished, trials)):
            return outcome


def _tell(
    plan: Plan,
    runner: Runner,
    trials: Sequence[Trial],
    failures: Sequence[Failure],
    n_resamples: int,
) -> Outcome:
    """Analyse what is finished, and write it down."""
    study, kept, caches = runner.study, runner.kept, runner.caches
    records = [record for record in kept.gather(trials) if record.table in plan.tables]
    analyst = Analyst(
        study, kept, trials, records, caches, say=runner.say, progress=runner.progress
    )
    wanted = WHAT if plan.what == ALL else [plan.what]
    asked = question_results(study, kept, trials, wanted, caches.cubes)
    counted = [table_1(study)] if plan.what in (COUNTED, ALL) else []
    parts = [*counted, *(asked.parts if asked else ()), *analyst.parts()]
    hours = Hours.read(plan.out)  # those of other processes too
    facts = _facts(plan, runner, trials, hours) if trials else {"code": runner.code}
    if any(map(asks_questions, plan.trials)):
        facts["questions asked"] = asked.asked if asked else "none"
    return write_outcome(
        plan.out,
        records,
        plan.tables,
        noting_shown_fields(plan.recipes, trials),
        Circumstances(plan.command, study.info.simulated, facts, hours.total, hours.elapsed),
        [failure for failure in failures if not kept.finished(failure.trial)],
        parts,
        asked.claims if asked else (),
        n_resamples=n_resamples,
    )


def _prepare_questions(
    plan: Plan, study: Study, trials: Sequence[Trial], say: Callable[[str], None]
) -> None:
    if any(map(asks_questions, trials)):
        claim_questions(study, plan.out, say)
    elif any(map(asks_questions, plan.trials)):
        say(NO_QUESTIONS)


def listed(plan: Plan) -> list[Listed]:
    """Every distinct trial of a plan, what it is for, and how long it will take.

    Raises:
        InputError: the study cannot be read, or lacks the questions that were asked for by name.
    """
    kept, hours = Kept(plan.out), Hours.read(plan.out)
    trials = distinct(plan.trials_on(Study.load(plan.study)))
    finished = list(filter(kept.finished, trials))
    return [
        Listed(
            trial,
            tuple(f"{table_name(t.table)}, {t.row}" for t in plan.trials if t.key == trial.key),
            trial in finished,
            0.0 if trial in finished else hours.expected([trial], finished),
        )
        for trial in trials
    ]


def _facts(plan: Plan, runner: Runner, trials: Sequence[Trial], hours: Hours) -> dict[str, str]:
    study, device = runner.study, pick_device()
    recipe = trials[0].recipe
    finished = list(filter(runner.kept.finished, distinct(trials)))
    count = len(distinct(trials))
    missing = f", {count - len(finished)} of them not finished" if len(finished) < count else ""
    known = environment(device, resolve_precision(recipe.precision, device))
    sizes = [
        f"{c.name} {len(c.examples)} ({len(set(c.subjects))} subjects)" for c in columns_of(study)
    ]
    return {
        "code": runner.code,
        "code of the trials": hours.codes(finished) or "none ended",
        "recipe size": plan.size,
        "seeds": ", ".join(map(str, plan.seeds)),
        "trials": f"{count}{missing}",
        "hours, training and scoring": hours.told,
        "training sessions": str(len(study.examples("train", recipe.sessions))),
        "scans tested on": "; ".join(sizes),
        **{name: str(known[name]) for name in SHOWN_FACTS},
    }
