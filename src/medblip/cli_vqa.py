"""`medblip questions` and `medblip chat`: questions about scans, made, read in, and asked."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from medblip.cli_tables import list_findings
from medblip.errors import UsageError
from medblip.notice import RESEARCH_USE, SIMULATED_DATA

questions_app = typer.Typer(
    help="Questions about scans for training and scoring; docs/vqa.md says which.\n\n"
    "Example: `medblip questions simulated --study study`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
console = Console(stderr=True, highlight=False)

Root = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder of the volumes; without it their paths are not tried.",
    ),
]
Out = Annotated[Path, typer.Option(help="File to write, one question a line.")]
Previous = Annotated[
    Path | None,
    typer.Option(
        help="An earlier scan of the same subject, to compare with; for a model that was trained "
        "on questions about two scans."
    ),
]


@questions_app.command("simulated")
def questions_simulated(
    study: Annotated[Path, typer.Option(help="Study folder prepared from simulated data.")],
    simulated: Annotated[
        Path | None,
        typer.Argument(help="Folder that `simulate` wrote, where it was moved since `prepare`."),
    ] = None,
    two_turns: Annotated[
        int, typer.Option(min=0, help="Two-turn cases of the test split; 0 makes none.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    only: Annotated[
        str, typer.Option("--kinds", help="Only these kinds, by commas; all by default.")
    ] = "",
) -> None:
    """Ask about simulated scans from their ground truth; writes the study's questions.jsonl.

    Example: `medblip questions simulated --study study`
    """
    from medblip.study.study import Study
    from medblip.vqa.study_file import write_study_questions

    wanted = [kind.strip() for kind in only.split(",")] if only else ()
    loaded = Study.load(study)
    done = write_study_questions(simulated, loaded, two_turns=two_turns, seed=seed, only=wanted)
    for split, kinds in done.counts.items():
        print(f"{split}: {sum(kinds.values())} questions")
        for kind, count in kinds.items():
            print(f"  {kind:24} {count}")
    if done.two_turns < done.two_turns_wanted and not only:
        console.print(
            f"warning: the test scans give {done.two_turns} two-turn cases, "
            f"not {done.two_turns_wanted}; simulate more subjects"
        )
    print(f"{done.path}\n{SIMULATED_DATA}")


@questions_app.command("m3d")
def questions_m3d(
    source: Annotated[Path, typer.Argument(help="CSV of M3D-VQA.")],
    out: Out,
    root: Root = None,
    alzheimer: Annotated[
        bool, typer.Option("--alzheimer", help="Only rows about Alzheimer's disease.")
    ] = False,
) -> None:
    """Read a CSV of M3D-VQA; bad rows are listed and left out (exit code 4).

    Example: `medblip questions m3d M3D_VQA_test.csv --root M3D_Cap --out m3d.jsonl --alzheimer`
    """
    from medblip.vqa.filter_terms import ad_filter
    from medblip.vqa.m3d import read_m3d
    from medblip.vqa.question_origin import FilterFacts, QuestionOrigin

    terms = ad_filter() if alzheimer else None
    read = read_m3d(source, root=root, terms=terms)
    if terms is not None:
        counts = terms.counts
        print(f"{counts.kept} of {counts.seen} rows are about Alzheimer's disease, by term:")
        for term, count in counts.by_term.most_common():
            print(f"  {term:32} {count}")
    kept = None if terms is None else FilterFacts.of(terms)
    _write(read, source, out, QuestionOrigin(data_set="M3D-VQA", modality="CT", filter=kept))


@questions_app.command("neuroqa")
def questions_neuroqa(
    source: Annotated[Path, typer.Argument(help="JSONL in the manner of NeuroQA.")],
    out: Out,
    root: Root = None,
) -> None:
    """Read a NeuroQA-type JSONL; bad lines are listed and left out (exit code 4).

    Example: `medblip questions neuroqa neuroqa.jsonl --out questions.jsonl`
    """
    from medblip.vqa.neuroqa import read_neuroqa
    from medblip.vqa.question_origin import QuestionOrigin

    origin = QuestionOrigin(data_set="NeuroQA-type", modality="MRI")
    _write(read_neuroqa(source, root=root), source, out, origin)


def _write(read: Any, source: Path, out: Path, origin: Any) -> None:
    """Write what could be read and its origin; list what could not, and leave with code 4 then."""
    from medblip.vqa.question_file import write_questions

    if out.exists() and out.samefile(source):
        problem = "this is the file that is read, which would be written over"
        raise UsageError(str(out), problem, "name another --out", code="out-is-source")
    list_findings(console, read.findings)
    try:
        write_questions(out, read.questions)
        origin.write(out)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or type(error).__name__}"
        raise UsageError(str(out), problem, "name another --out", code="out-unwritable") from error
    for kind, count in Counter(q.kind for q in read.questions).items():
        print(f"  {kind:24} {count}")
    print(f"{out}: {len(read.questions)} questions, {read.skipped} entries skipped")
    read.require_all(str(source))


def chat(
    run: Annotated[Path, typer.Argument(help="Run folder, or checkpoint folder.")],
    scan: Annotated[Path, typer.Argument(help="T1-weighted scan, as for `ask`.")],
    record: Annotated[
        str, typer.Option(help="Record as text; training on questions shows none.")
    ] = "",
    volume_index: Annotated[int | None, typer.Option(help="Which volume of a 4D file.")] = None,
    assume_orientation: Annotated[
        str | None, typer.Option(help="e.g. RAS, for files that do not say left from right.")
    ] = None,
    series: Annotated[str, typer.Option(help="Which DICOM series.")] = "",
    previous: Previous = None,
) -> None:
    """Talk about one scan: a question a line, each answered with all before it in view.

    An empty line, or the end of the input, ends it.

    Example: `medblip chat runs/1 scan.nii.gz`,
    `medblip chat runs/two-scans later.nii.gz --previous earlier.nii.gz`
    """
    from medblip.evaluation.chatting import open_conversation

    opening = open_conversation(
        run,
        scan,
        record=record,
        volume_index=volume_index,
        assume_orientation=assume_orientation,
        series=series,
        previous=previous,
    )
    for finding in opening.findings:
        console.print(f"  {finding}", markup=False, soft_wrap=True)
    print(RESEARCH_USE)
    if opening.conversation is None:
        print(f"No answer: {opening.reason}")
        raise typer.Exit(3)
    while question := _line():
        print(f"Answer:  {opening.conversation.say(question)}", flush=True)
    print(RESEARCH_USE)


def _line() -> str:
    """The next question; empty at the end."""
    if sys.stdin.isatty():
        console.print("Question: ", end="")
    return sys.stdin.readline().strip()
