"""``medblip experiment``: a table of the paper, or all of them, run on a study into a folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medblip.experiments.aggregate import RESAMPLES
from medblip.experiments.code_state import code_state
from medblip.experiments.columns import columns_of
from medblip.experiments.hours import Hours
from medblip.experiments.kept import Kept
from medblip.experiments.matrix import SIZES, RecipeSize, trials_of
from medblip.experiments.outcome import Circumstances, Outcome, write_outcome
from medblip.experiments.runner import Runner
from medblip.experiments.scoring import Caches
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
        what: ``table2``, ``table4``, ``table5``, ``table6`` or ``all``.
        study: folder.
        out: folder of runs, records and results.
        size: of the recipes.
        seeds: of each setting.
        overrides: recipe values for all trials; those that make a setting come after them.
        trials: all that follows from these.

    Raises:
        InputError, UsageError: on construction, where a recipe or a value cannot be used.
    """

    what: str
    study: Path
    out: Path
    size: RecipeSize = "embedded"
    seeds: tuple[int, ...] = SEEDS
    overrides: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = tuple(trials_of(self.what, SIZES[self.size], self.seeds, self.overrides))
        distinct(found)  # a recipe that cannot be read is told before the first hour
        object.__setattr__(self, "trials", found)

    @property
    def command(self) -> str:
        """The shell line that runs this."""
        seeds = ("--seeds", ",".join(map(str, self.seeds)))
        words = ["medblip", "experiment", self.what, *self.overrides, "--study", str(self.study)]
        words += ["--out", str(self.out), "--recipe-size", self.size, *seeds]
        return shlex.join(words)

    @property
    def tables(self) -> list[int]:
        return sorted({trial.table for trial in self.trials})


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
    kept, hours = Kept(plan.out), Hours.read(plan.out)
    runner = Runner(
        study,
        kept,
        hours,
        Caches(cubes, tokens),
        accept_audit,
        accept_changes,
        say,
        progress,
    )
    failures = runner.run(plan.trials)
    circumstances = Circumstances(
        plan.command, study.info.simulated, _facts(plan, study, hours), hours.total
    )
    return write_outcome(
        plan.out,
        kept.gather(plan.trials),
        plan.tables,
        SIZES[plan.size],
        circumstances,
        failures,
        n_resamples=n_resamples,
    )


def listed(plan: Plan) -> list[Listed]:
    """Every distinct trial of a plan, what it is for, and how long it will take."""
    kept, hours = Kept(plan.out), Hours.read(plan.out)
    trials = distinct(plan.trials)
    finished = [trial for trial in trials if kept.records(trial) is not None]
    return [
        Listed(
            trial,
            tuple(f"Table {t.table}, {t.row}" for t in plan.trials if t.key == trial.key),
            trial in finished,
            0.0 if trial in finished else hours.expected([trial], finished),
        )
        for trial in trials
    ]


def _facts(plan: Plan, study: Study, hours: Hours) -> Mapping[str, str]:
    device = pick_device()
    recipe = plan.trials[0].recipe
    known = environment(device, resolve_precision(recipe.precision, device))
    sizes = [
        f"{c.name} {len(c.examples)} ({len(set(c.subjects))} subjects)" for c in columns_of(study)
    ]
    return {
        "code": code_state(),
        "recipe size": plan.size,
        "seeds": ", ".join(map(str, plan.seeds)),
        "trials": str(len(distinct(plan.trials))),
        "hours, training and scoring": f"{hours.total:.2f}",
        "training sessions": str(len(study.examples("train", recipe.sessions))),
        "scans tested on": "; ".join(sizes),
        **{name: str(known[name]) for name in SHOWN_FACTS},
    }
