"""`medblip plan`, `train` and `evaluate`: from a recipe to a model and what it is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from medblip.cli_tables import list_findings, print_question_results, print_results
from medblip.errors import UsageError
from medblip.notice import RESEARCH_USE

console = Console(stderr=True, highlight=False)


def plan(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe or a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values, e.g. model.lora=null.")
    ] = None,
    gpu_memory: Annotated[str, typer.Option(help="Memory of the device.")] = "24GiB",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples a step; the recipe's by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="cuda, or cpu: this machine.")] = "cuda",
    record_tokens: Annotated[int, typer.Option(min=1, help="Typical record text.")] = 90,
    prompt_tokens: Annotated[int, typer.Option(min=2, help="Prompt with its prefix.")] = 140,
    images: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="Scans in a prompt: 2 where questions compare with an earlier one."
        ),
    ] = 1,
    scans: Annotated[int, typer.Option(min=1, help="Scans of one epoch.")] = 28_000,
    tflops: Annotated[float, typer.Option(min=0.001, help="The device's peak, dense.")] = 71.0,
    utilisation: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of the peak that a step reaches.")
    ] = 0.35,
    gpus: Annotated[int, typer.Option(min=1, help="Of each machine; the batch is each one's.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Parameters, memory, time and largest batch of a recipe, before anything is allocated.

    Example: `medblip plan paper/biomedlm-lora --gpu-memory 24GiB`, and with
    `--gpus 8 --nodes 8` what so many would give.
    """
    from medblip.recipe import load_recipe
    from medblip.training.planning import (
        Cluster,
        TextLengths,
        parse_bytes,
        plan_tables,
        scale,
        scaling_table,
    )
    from medblip.training.planning import plan as run_planning

    memory = parse_bytes(gpu_memory, "--gpu-memory")
    loaded = load_recipe(recipe, overrides or ())
    with console.status("Planning on tensors without memory, about a minute"):
        result = run_planning(
            loaded,
            memory=memory,
            batch=batch,
            device=device,
            lengths=TextLengths(record=record_tokens, prompt=prompt_tokens, prefixes=images),
            scans=scans,
            tflops=tflops,
            utilisation=utilisation,
        )
    ways = (False, True) if gpus * nodes > 1 else ()
    scalings = [scale(result, loaded, Cluster(gpus, nodes), sharded=way) for way in ways]
    if as_json:
        several = {"scaling": [scaling.as_dict() for scaling in scalings]} if scalings else {}
        print(json.dumps(result.as_dict() | several, indent=2))
        return
    shown = Console(highlight=False)
    shown.print(plan_tables(result))
    if scalings:
        shown.print(scaling_table(scalings))


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="Shipped recipe (embedded) or a YAML file.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values, e.g. tune.steps=100 seed=1.")
    ] = None,
    study: Annotated[Path | None, typer.Option(help="Study folder that `prepare` wrote.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; an interrupted run goes on in it.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Run folder to go on with; it needs nothing else.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
    accept_audit: Annotated[
        list[str] | None,
        typer.Option(help="Code of an audit error to train in spite of; may be repeated."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Log to tensorboard, trackio or mlflow as well; may be repeated."),
    ] = None,
    accept_changes: Annotated[
        str,
        typer.Option(
            help="What may have changed since the run was started: recipe, data, code, by commas."
        ),
    ] = "",
) -> None:
    """Train a recipe on a study, or go on with a run that was stopped.

    Example: `medblip train embedded --study study --out runs/1 seed=1`,
    `medblip train --resume runs/1`
    """
    from medblip.recipe import load_recipe
    from medblip.storage import cache_folder, cubes_folder
    from medblip.study.study import Study
    from medblip.training.agreement import is_first_process
    from medblip.training.run import resume as resume_training
    from medblip.training.run import train as run_training

    accepted: dict[str, Any] = {
        "accept_audit": accept_audit or (),
        "trackers": track or (),
        "accept_changes": [kind for kind in accept_changes.split(",") if kind],
    }
    if resume is not None:
        values = [*([recipe] if recipe else ()), *(overrides or ())]
        if out is not None or any("=" not in value for value in values):
            problem = "a run that goes on has its recipe and its folder"
            raise UsageError("--resume", problem, "leave out RECIPE and --out", code="resume-alone")
        run = resume_training(resume, overrides=values, study=study, cubes=cache, **accepted)
    elif recipe is None or study is None or out is None:
        given = {"RECIPE": recipe, "--study": study, "--out": out}
        absent = ", ".join(name for name, value in given.items() if value is None)
        fix = "give RECIPE, --study and --out, or --resume RUN alone"
        raise UsageError("train", f"{absent} missing", fix, code="train-what")
    else:
        run = run_training(
            load_recipe(recipe, overrides or ()),
            Study.load(study),
            out,
            cubes=cache or cubes_folder(),
            tokens=cache_folder() / "tokens",
            **accepted,
        )
    if is_first_process():
        print(run.model)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that `train` wrote.")],
    study: Annotated[Path | None, typer.Option(help="Study folder.")] = None,
    questions: Annotated[
        bool, typer.Option("--questions", help="Ask the questions of the study too.")
    ] = False,
    questions_file: Annotated[
        Path | None,
        typer.Option(help="Instead of a study: questions about volume files, e.g. of M3D-VQA."),
    ] = None,
    volumes: Annotated[
        Path | None, typer.Option(help="With --questions-file: folder of the volumes.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --questions-file: folder of the results; by default in the run's."),
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Of questions: so many of each kind.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Evaluate a run on held-out subjects, with its controls; writes report.html.

    Or on a public set of questions about volume files, which writes question_results.json.

    Example: `medblip evaluate runs/1 --study study`,
    `medblip evaluate runs/1 --questions-file m3d.jsonl --volumes M3D_Cap`
    """
    if questions_file is not None and volumes is not None and study is None and not questions:
        _evaluate_volumes(run, questions_file, volumes, out, most, cache, as_json)
        return
    if study is None or any(given is not None for given in (questions_file, volumes, out)):
        problem = "expected --study, or --questions-file with --volumes"
        fix = "give one of them; --out goes with --questions-file"
        raise UsageError("evaluate", problem, fix, code="evaluate-what")
    from medblip.evaluation.evaluate import evaluate as run_evaluation
    from medblip.evaluation.evaluate import load_results
    from medblip.evaluation.reporting import report
    from medblip.evaluation.vqa_evaluate import evaluate_questions
    from medblip.storage import cache_folder, cubes_folder
    from medblip.study.study import Study
    from medblip.vqa.study_questions import study_questions

    loaded = Study.load(study)
    if questions:
        study_questions(loaded)  # a bad line is told before the long evaluation, not after it
    cubes = cache or cubes_folder()
    places: dict[str, Any] = {"cubes": cubes, "tokens": cache_folder() / "tokens"}
    done = run_evaluation(run, loaded, **places)
    asked = evaluate_questions(run, loaded, most=most, **places) if questions else None
    command = f"medblip evaluate {run} --study {study}{' --questions' if questions else ''}"
    page = report(done, run, loaded, cubes=cubes, commands=[command], questions=asked)
    results = load_results(run)
    if as_json:
        print(json.dumps(results | ({"questions": asked.as_dict()} if asked else {}), indent=2))
        return
    print_results(results)
    if asked is not None:
        print_question_results(asked.as_dict())
    print(f"Report: {page}\n{RESEARCH_USE}")


def _evaluate_volumes(
    run: Path,
    questions: Path,
    volumes: Path,
    out: Path | None,
    most: int | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """`evaluate --questions-file`: print the numbers, list what was left out (exit code 4)."""
    from medblip.evaluation.vqa_volumes import evaluate_volumes
    from medblip.storage import cache_folder, cubes_folder

    done = evaluate_volumes(
        run,
        questions,
        volumes,
        cubes=cache or cubes_folder(),
        tokens=cache_folder() / "tokens",
        out=out,
        most=most,
    )
    list_findings(console, done.problems)
    if as_json:
        print(json.dumps(done.as_dict(), indent=2))
    else:
        print_question_results(done.as_dict())
        print("\n".join([*done.told, f"Results: {done.folder}", RESEARCH_USE]))
    done.require_all()
