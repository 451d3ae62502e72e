"""`medblip experiment`: the paper's tables, run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from medblip.errors import PartlyDoneError, UsageError
from medblip.notice import RESEARCH_USE, SIMULATED_DATA

if TYPE_CHECKING:
    from medblip.experiments.experiment import Plan
    from medblip.experiments.outcome import Outcome

_console = Console(stderr=True, highlight=False)


def experiment(
    what: Annotated[
        str, typer.Argument(help="table1 to table6, figure3, figure4, lowdata or all.")
    ],
    study: Annotated[Path, typer.Option(help="Study folder that `prepare` wrote.")],
    out: Annotated[
        Path, typer.Option(help="Folder of runs and results; what was stopped goes on in it.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Recipe values for all trials, e.g. tune.steps=100."),
    ] = None,
    recipe_size: Annotated[
        str,
        typer.Option(
            help="embedded; paper: the published models, which need a GPU; tiny: random weights, "
            "a check in minutes that the code runs."
        ),
    ] = "embedded",
    most: Annotated[
        int | None,
        typer.Option(min=1, help="Ask so many test questions of each kind, evenly spaced."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Of each setting, by commas; fewer than three decide no claim.")
    ] = "0,1,2",
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
    accept_audit: Annotated[
        list[str] | None,
        typer.Option(help="Code of an audit error to train in spite of; may be repeated."),
    ] = None,
    accept_changes: Annotated[
        str,
        typer.Option(
            help="What may have changed since an unfinished run was started, as in train."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the trials and how long they will take.")
    ] = False,
) -> None:
    """Run tables of the paper on a study, with controls; writes experiments.html and results.json.

    Stop it at any time; the same command goes on from there. A trial that fails is told, and the
    others go on. Started several times into one folder (several GPUs, a Slurm array), the processes
    share the trials.

    Table 1 needs no training. Table 3 and the figures ask the study's questions (docs/vqa.md).

    Example: `medblip experiment table6 --study study --out experiments`,
    `medblip experiment all --study study --out experiments --dry-run`
    """
    from medblip.experiments.experiment import Plan
    from medblip.experiments.experiment import experiment as run_experiment
    from medblip.experiments.matrix import RecipeSize
    from medblip.storage import cache_folder, cubes_folder

    sizes: tuple[RecipeSize, ...] = get_args(RecipeSize)
    size = next((name for name in sizes if name == recipe_size), None)
    if size is None:
        expected = f"expected one of {', '.join(sizes)}"
        raise UsageError("--recipe-size", f"found {recipe_size!r}", expected, code="recipe-size")
    plan = Plan(what, study, out, size, _numbers(seeds), tuple(overrides or ()), most)
    if dry_run:
        _print_plan(plan)
        return
    outcome = run_experiment(
        plan,
        cubes=cache or cubes_folder(),
        tokens=cache_folder() / "tokens",
        accept_audit=accept_audit or (),
        accept_changes=[kind for kind in accept_changes.split(",") if kind],
        say=lambda line: _console.print(line, style="bold", markup=False, soft_wrap=True),
    )
    _print_outcome(outcome)
    if outcome.failures:
        raise PartlyDoneError(
            str(outcome.results),
            f"{len(outcome.failures)} trial(s) failed; each is named there with its error",
            "the same command tries them again",
            code="trials-failed",
        )


def _numbers(seeds: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise UsageError("--seeds", f"found {seeds!r}", "give numbers, e.g. 0,1,2") from None


def _print_plan(plan: Plan) -> None:
    from medblip.experiments.experiment import listed
    from medblip.experiments.questions_study import NO_QUESTIONS

    trials = listed(plan)
    if len({trial.key for trial in plan.trials}) > len(trials):
        _console.print(NO_QUESTIONS)
    for number, entry in enumerate(trials, start=1):
        time = "finished" if entry.finished else _hours(entry.hours)
        print(f"{number:3}  seed {entry.trial.seed}  {time:>10}  {'; '.join(entry.uses)}")
    known = [entry.hours for entry in trials if entry.hours is not None]
    total = _hours(sum(known)) if len(known) == len(trials) else "not known; see `medblip plan`"
    print(f"{len(trials)} trials, left: {total}")


def _hours(hours: float | None) -> str:
    return "not known" if hours is None else f"{hours:.2f} h"


def _print_outcome(outcome: Outcome) -> None:
    from medblip.experiments.part_text import PRINTED, markdown_part
    from medblip.experiments.simple_controls import CONTROL_TITLES
    from medblip.experiments.table_text import markdown_table

    for table in outcome.tables:
        print(markdown_table(table, CONTROL_TITLES))
    for part in outcome.parts:
        if part.key in PRINTED:
            print(markdown_part(part))
    for claim in outcome.claims:
        print(f"Table {claim.table}: {claim.claim}: {claim.answer}. {claim.text}")
    if outcome.means_nothing:
        print(f"\n{outcome.means_nothing}")
    if outcome.simulated:
        print(f"\n{SIMULATED_DATA}")
    print(f"Page: {outcome.page}\n{RESEARCH_USE}")


__all__ = ["experiment"]
