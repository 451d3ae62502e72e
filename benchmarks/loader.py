"""What loading costs a training step: time waited, memory over epochs, and a big manifest.

    waiting    share of step time spent waiting for data, step by step after the first; a real
               training of the embedded sizes with random weights, batch 16: cached tokens, and
               volumes through the encoder with every augmentation on
    epochs     resident memory after each of three epochs, loader alone
    manifest   30,000 examples for a hundred epochs: start-up, and memory of the schedule against
               a list of its draws
    parts      milliseconds of a sample by part; texts tokenised once against every time, and
               tokens in a file each against all in one file that stays open

Run with one thread, as the loader is on one core of many; a step on more cores is shorter, which
the share of another machine follows from ``step_seconds``.

    OMP_NUM_THREADS=1 python benchmarks/loader.py --write

The last line of standard output is one JSON document. The exit code is 1 where waiting takes 5% of
a step's time or more, or memory grows.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, TrainerCallback

from medblip import __version__
from medblip.model import MedBlipForConditionalGeneration
from medblip.model.pretrained import embedded_files
from medblip.model.prompt import PromptBuilder
from medblip.recipe import Recipe, load_recipe
from medblip.storage import write_json
from medblip.study.labels import LABELS
from medblip.study.study import Example
from medblip.training.collating import Collator
from medblip.training.data import StageDataset
from medblip.training.planning.model import new_model
from medblip.training.stage_trainer import StageTrainer, stage_arguments
from medblip.training.token_cache import TOKENS, LiveTokens, TokenCache
from medblip.training.watching import Gauges
from step_sizes import heads, size_of

RESULTS = Path(__file__).parent / "results" / "loader.json"
SUBJECTS = 96
BATCH = 16
ROWS = 30_000
MOST_WAITING = 0.05
MOST_GROWTH_MB = 2.0  # from the second epoch to the third
AUGMENT = "{rotate_degrees: 10, scale: 0.1, shift: 0.03, gamma: 0.2, noise: 0.03, bias_field: 0.2}"
SHARES = ["tune.without_image=0.05", "tune.blank_image=0.05", "tune.without_record=0.1"]
LIVE = [
    "align.steps=0",
    "model.train_patch_embedding=true",
    "tune.token_dropout=0",
    "tune.token_noise=0",
    f"tune.augment={AUGMENT}",
]


@dataclass(frozen=True)
class World:
    """Cubes on disk, and what a stage's samples are made with."""

    root: Path
    examples: list[Example]
    prompts: PromptBuilder
    collate: Callable[[StageDataset], Collator]

    def model(self, recipe: Recipe) -> MedBlipForConditionalGeneration:
        torch.manual_seed(0)
        model = new_model(recipe, recipe.tune, MedBlipForConditionalGeneration)
        model.config.skip_background = True
        return model

    def images(self, recipe: Recipe) -> LiveTokens:
        model = self.model(recipe)
        if recipe.model.train_patch_embedding:
            return LiveTokens(model, self.root / "cubes")
        cache = TokenCache(model, self.root / "cubes", self.root / "tokens")
        cache.fill([example.cube for example in self.examples], progress=False)
        return cache

    def samples(
        self, recipe: Recipe, images: LiveTokens, examples: Sequence[Example] | None = None
    ) -> StageDataset:
        known = examples or self.examples
        return StageDataset(known, recipe.record.form, images, self.prompts, recipe.tune, seed=0)


def make_world(root: Path) -> World:
    """Simulated heads, each of eight written out under several names with a voxel changed."""
    (root / "cubes").mkdir()
    made = (heads(size_of("demo"))[:, 0] * 255).round().to(torch.uint8).numpy()
    for number in range(SUBJECTS):
        cube = made[number % len(made)].copy()
        cube[56, 56, 56] = 1 + number
        save_file({"array": cube}, root / "cubes" / f"{number}.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(embedded_files(verify=False).language)
    recipe = load_recipe("embedded")
    prompts = PromptBuilder(tokenizer, 49152, recipe.model.qformer.num_query_tokens)
    pad = tokenizer.pad_token_id
    return World(root, invented(SUBJECTS), prompts, lambda d: Collator(pad, False, d.blank))


def invented(count: int) -> list[Example]:
    """Examples with records, some of whose fields are missing, over the cubes that there are."""
    rng = np.random.default_rng(0)
    return [
        Example(
            participant_id=f"sub-{i // 3}",
            session_id=f"ses-{i % 3}",
            cohort="ab"[i % 2],
            site="",
            fields={
                "age": f"{rng.uniform(55, 95):.1f}",
                "sex": "FM"[i % 2],
                "education_years": str(rng.integers(6, 21)),
                "mmse": str(rng.integers(10, 31)),
            }
            | ({"lm_delayed": str(rng.integers(0, 26))} if i % 3 else {}),
            label=LABELS[i % len(LABELS)],
            cube=f"{i % SUBJECTS}.safetensors",
            image="",
        )
        for i in range(count)
    ]


class Watch(TrainerCallback):
    """Notes every step's readings."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.clock = time.perf_counter()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "data_wait_share" in logs:
            now = time.perf_counter()
            self.rows.append({"wait": logs["data_wait_share"], "seconds": now - self.clock})
            self.clock = now


def waiting(world: World, form: str, steps: int) -> dict[str, Any]:
    """A real training of ``steps`` steps."""
    changed = [*SHARES, *(LIVE if form == "volumes" else []), f"tune.steps={steps}"]
    recipe = load_recipe("embedded", [*changed, f"tune.batch_size={BATCH}"])
    images = world.images(recipe)
    samples = world.samples(recipe, images)
    arguments = stage_arguments(world.root / "run", recipe.tune, 0, "float32", torch.device("cpu"))
    arguments.logging_steps, arguments.save_strategy = 1, transformers.trainer_utils.SaveStrategy.NO
    watch = Watch()
    trainer = StageTrainer(
        model=images.model,
        args=arguments,
        train_dataset=samples,
        data_collator=world.collate(samples),
        stage=recipe.tune,
        gauges=Gauges(images.model, BATCH),
        callbacks=[watch],
    )
    trainer.remove_callback(transformers.ProgressCallback)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    steady = watch.rows[1:]
    return {
        "form": form,
        "steps": len(steady),
        "wait_share": spread([row["wait"] for row in steady]),
        "step_seconds": spread([row["seconds"] for row in steady]),
    }


def epochs(world: World, form: str) -> dict[str, Any]:
    """Memory of the process after each of three epochs of the loader."""
    passes = 20  # over the cubes, as one epoch: a slope is seen the better
    steps = 3 * passes * SUBJECTS // BATCH
    changed = [*SHARES, *(LIVE if form == "volumes" else []), f"tune.steps={steps}"]
    recipe = load_recipe("embedded", [*changed, "tune.field_dropout=cohorts"])
    images = world.images(recipe)
    samples = world.samples(recipe, images)
    loader = DataLoader(samples, batch_size=BATCH, collate_fn=world.collate(samples))
    process = psutil.Process()
    resident, files = [], []
    for number, _ in enumerate(loader, 1):
        if number % (steps // 3) == 0:
            gc.collect()
            resident.append(process.memory_info().rss / 1e6)
            files.append(process.num_fds())
    return {
        "form": form,
        "samples_an_epoch": passes * SUBJECTS,
        "resident_mb": [round(x, 1) for x in resident],
        "growth_mb": round(resident[2] - resident[1], 2),
        "open_files": files,
    }


def manifest(world: World) -> dict[str, Any]:
    """A study of 30,000 sessions for a hundred epochs."""
    steps = ROWS * 100 // BATCH
    plain = load_recipe("embedded", [f"tune.steps={steps}", f"tune.batch_size={BATCH}"])
    bucketed = load_recipe(
        "embedded",
        [
            f"tune.steps={steps}",
            f"tune.batch_size={BATCH}",
            "tune.bucket=50",
            "tune.balance=class_and_cohort",
            "tune.field_dropout=cohorts",
        ],
    )
    images = world.images(plain)
    examples = invented(ROWS)
    found: dict[str, Any] = {"rows": ROWS, "draws": steps * BATCH}
    for name, recipe in (("plain", plain), ("bucketed", bucketed)):
        started = time.perf_counter()
        samples = world.samples(recipe, images, examples)
        seconds = time.perf_counter() - started
        kept, peak = traced(lambda r=recipe: world.samples(r, images, examples))
        found[name] = {"start_seconds": seconds, "kept_mb": kept, "peak_mb": peak}
    few = samples.schedule[: len(samples) // 10]
    kept, listed = few.nbytes, traced(lambda: list(few))[0]
    found["schedule_mb"] = samples.schedule.nbytes / 1e6
    found["schedule_over_list_of_draws"] = round(kept / 1e6 / listed, 4)
    process = psutil.Process()
    loader = DataLoader(samples, batch_size=BATCH, collate_fn=world.collate(samples))
    resident = []
    for number, _ in enumerate(loader, 1):
        if number % 500 == 0:
            resident.append(round(process.memory_info().rss / 1e6, 1))
        if number == 5 * 500:
            break
    # What grows are kept texts, up to KEPT of each kind; with no field dropped there is one each.
    found["bucketed"]["resident_mb_each_8000_samples"] = resident
    return found


def parts(world: World, repeats: int) -> dict[str, Any]:
    """Where the time of a sample goes, and two ways each of texts and of files."""
    recipe = load_recipe("embedded", [*SHARES, "tune.steps=50", f"tune.batch_size={BATCH}"])
    images = world.images(recipe)
    samples = world.samples(recipe, images)
    names = [e.cube for e in world.examples]
    packed = world.root / "packed.safetensors"
    save_file({n: images.tokens(n).astype(np.float16) for n in names}, packed)
    collate = world.collate(samples)
    batch = [samples[i] for i in range(BATCH)]

    def one_file_each() -> None:
        for name in names:
            images.tokens(name)

    def one_for_all() -> None:
        with safe_open(packed, framework="numpy") as file:
            for name in names:
                np.asarray(file.get_tensor(name), np.float32)

    def texts(fresh: bool) -> None:
        for i, example in enumerate(world.examples):
            if fresh:
                samples.texts = type(samples.texts)(world.prompts)
            samples._texts(example, samples.schedule[i])

    one_file_each()
    ratios: dict[str, list[float]] = {"texts": [], "files": []}
    each = {"sample": 0.0, "tokens_from_disk": 0.0, "texts": 0.0, "collated_batch": 0.0}
    for _ in range(repeats):
        once, anew = seconds(lambda: texts(False)), seconds(lambda: texts(True))
        many, single = seconds(one_file_each), seconds(one_for_all)
        ratios["texts"].append(once / anew)
        ratios["files"].append(many / single)
        each["texts"] += once / len(names)
        each["tokens_from_disk"] += many / len(names)
        each["sample"] += seconds(lambda: [samples[i] for i in range(100)]) / 100
        each["collated_batch"] += seconds(lambda: collate(batch))
    assert TOKENS in safe_open(images.folder / names[0], "numpy").keys()  # type: ignore[attr-defined] # noqa: SIM118
    return {
        "milliseconds": {name: round(1e3 * x / repeats, 3) for name, x in each.items()},
        "texts_once_over_every_time": spread(ratios["texts"]),
        "file_each_over_one_file": spread(ratios["files"]),
    }


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def traced(make: Callable[[], object]) -> tuple[float, float]:
    """MB that what is made keeps, and at the most while it is made."""
    tracemalloc.start()
    made = make()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del made
    return round(kept / 1e6, 1), round(peak / 1e6, 1)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 4),
        "median": round(statistics.median(values), 4),
        "max": round(max(values), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--steps", type=int, default=18, help="of the training on cached tokens")
    parser.add_argument("--live-steps", type=int, default=6, help="of the training on volumes")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        found: dict[str, Any] = {
            "benchmark": "loader",
            "batch": BATCH,
            # Before any training, whose memory would hide what the loader takes.
            "epochs": [epochs(world, form) for form in ("tokens", "volumes")],
            "manifest": manifest(world),
            "parts": parts(world, arguments.repeats),
            "waiting": [
                waiting(world, "tokens", arguments.steps),
                waiting(world, "volumes", arguments.live_steps),
            ],
            "threads": torch.get_num_threads(),
            "medblip": __version__,
            "torch": torch.__version__,
        }
    if arguments.write:
        write_json(RESULTS, found)
    print(json.dumps(found))
    waited = max(row["wait_share"]["median"] for row in found["waiting"])
    grown = max(row["growth_mb"] for row in found["epochs"])
    raise SystemExit(int(waited >= MOST_WAITING or grown > MOST_GROWTH_MB))


if __name__ == "__main__":
    main()
