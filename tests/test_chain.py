"""The chain end to end with two-layer towers: simulate, prepare, train, evaluate, ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from medblip.cohorts.prepare import prepare
from medblip.errors import InputError, UsageError
from medblip.evaluation.answering import ask
from medblip.evaluation.calibration import Temperature
from medblip.evaluation.evaluate import evaluate
from medblip.evaluation.reporting import report, report_content
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.recipe import Recipe
from medblip.simulate import demo_cohorts, simulate
from medblip.simulate.dataset import ground_truth
from medblip.study.labels import LABELS
from medblip.study.study import Study
from medblip.study.subsets import SUBSETS_FILE, SubsetPlan, make_subsets
from medblip.training.building import build
from medblip.training.checkpoints import COMPLETE, newest_complete
from medblip.training.metrics_file import MetricsFile
from medblip.training.run import train
from medblip.volumes import Preprocessing
from tiny_world import learned_bytes

SIZE = 32


@dataclass(frozen=True)
class Chain:
    root: Path
    study: Study
    recipe: Recipe

    @property
    def places(self) -> dict[str, Path]:
        return {"cubes": self.root / "cubes", "tokens": self.root / "tokens"}


def tiny_recipe(world: Path, **tune: object) -> Recipe:
    stage = {"batch_size": 4, "evaluate_every": 4, "save_every": 2}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "precision": "float32",
            "model": {
                "vision": str(world / "vision"),
                "language": str(world / "language"),
                "volume_size": SIZE,
                "volume_patch_size": 8,
                "qformer": {
                    "num_query_tokens": 4,
                    "hidden_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "intermediate_size": 64,
                },
                "lora": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1},
            },
            "align": {**stage, "steps": 4, "language": 0.0},
            "tune": {
                **stage,
                "steps": 8,
                "without_image": 0.2,
                "blank_image": 0.2,
                "without_record": 0.2,
                **tune,
            },
        }
    )


@pytest.fixture(scope="module")
def chain(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root = tmp_path_factory.mktemp("chain")
    data = simulate(
        root / "simulated",
        demo_cohorts(subjects=30, zero_shot_subjects=6),
        template=world / "template",
        cache=root / "anatomy",
        workers=1,
        progress=False,
    )
    prepared = prepare(
        data.folders,
        root / "study",
        preprocessing=Preprocessing(size=SIZE),
        cache=root / "cubes",
        zero_shot=["SIM-Z"],
        fractions=(0.5, 0.2, 0.3),
        workers=1,
        progress=False,
    )
    assert prepared.skipped == 0
    return Chain(root, prepared.study, tiny_recipe(world))


@pytest.fixture(scope="module")
def run(chain: Chain) -> Path:
    done = train(chain.recipe, chain.study, chain.root / "run", **chain.places, progress=False)
    return done.folder


def test_training_writes_a_run_that_loads_as_any_transformers_model(run: Path) -> None:
    rows = MetricsFile(run / "metrics.jsonl").read()
    assert {row["stage"] for row in rows} == {"align", "tune"}
    assert all("language" not in row for row in rows if row["stage"] == "align")
    assert any("language" in row and "itc_record" in row for row in rows)
    assert any("validation_accuracy" in row for row in rows if row["stage"] == "tune")
    model = AutoModelForImageTextToText.from_pretrained(run / "model")
    assert type(model).__name__ == "MedBlipForConditionalGeneration"
    assert not model.training


def test_only_what_should_train_has_changed(run: Path, chain: Chain) -> None:
    torch.manual_seed(chain.recipe.seed)
    trained = AutoModelForImageTextToText.from_pretrained(run / "model")
    reloaded = AutoModelForImageTextToText.from_pretrained(run / "model")
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, reloaded.state_dict()[name]), name
    lora = {n: t for n, t in trained.state_dict().items() if "lora_B" in n}
    assert lora
    assert all(t.abs().max() > 0 for t in lora.values())  # starts at zero, so it has learnt


def test_a_finished_run_is_returned_at_once_and_another_recipe_is_refused(
    run: Path, chain: Chain, world: Path
) -> None:
    before = learned_bytes(run)
    again = train(chain.recipe, chain.study, run, **chain.places, progress=False)
    assert again.model == run / "model"
    assert learned_bytes(run) == before
    with pytest.raises(UsageError, match=r"another recipe: tune\.steps: 8 -> 9"):
        train(tiny_recipe(world, steps=9), chain.study, run, **chain.places, progress=False)


def test_the_patch_embedding_trains_on_volumes_and_caches_no_tokens(chain: Chain) -> None:
    values = chain.recipe.model_dump()
    values["model"] |= {"train_patch_embedding": True, "gradient_checkpointing": True}
    still = {"token_dropout": 0.0, "token_noise": 0.0}
    values["align"] |= {"steps": 0}
    values["tune"] |= {"steps": 0, "epochs": 0.8, **still}  # of 15 subjects, 4 a step
    recipe = Recipe.model_validate(values)
    places = {**chain.places, "tokens": chain.root / "no-tokens"}
    done = train(recipe, chain.study, chain.root / "live", **places, progress=False)
    assert not places["tokens"].exists()
    sessions = len(chain.study.examples("train", "all"))
    last = max(row["step"] for row in done.metrics if row["stage"] == "tune")
    assert last == round(0.8 * sessions / 4)
    torch.manual_seed(recipe.seed)
    started, _ = build(recipe, chain.study)
    trained = AutoModelForImageTextToText.from_pretrained(done.model)
    for name, before in started.patch_embedding.state_dict().items():
        assert not torch.equal(trained.patch_embedding.state_dict()[name], before), name
    for name, before in started.vision_model.state_dict().items():
        assert torch.equal(trained.vision_model.state_dict()[name], before), name


def test_evaluation_report_and_answer(run: Path, chain: Chain) -> None:
    plans = [SubsetPlan("A-2x200", ("A",), ("NC", "AD")), SubsetPlan("Z-3x200", ("Z",), LABELS)]
    make_subsets(chain.study, plans).write(chain.study.folder / SUBSETS_FILE)
    done = evaluate(run, chain.study, **chain.places, progress=False)
    assert len(done.examples) == 9
    assert set(done.conditions) == {"full", "record", "image", "other_image", "blank_image"}
    page = report(
        done, run, chain.study, cubes=chain.places["cubes"], commands=["make demo"]
    ).read_text(encoding="utf-8")
    for sentence in (RESEARCH_USE, SIMULATED_DATA, "Another subject", "Majority"):
        assert sentence in page.replace("&#39;", "'"), sentence
    content = report_content(
        done, run, chain.study, cubes=chain.places["cubes"], commands=[], timings={}
    )
    # The second stage's steps follow the first's on one axis.
    last = max(row["step"] for row in content.training_rows)
    assert last == chain.recipe.align.steps + chain.recipe.tune.steps
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    accuracy = results["conditions"]["full"]["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert [(s["name"], s["unit"]) for s in results["subsets"]] == [
        (plan.name, unit) for plan in plans for unit in ("subject", "image")
    ]
    for subset in results["subsets"]:
        assert set(subset["conditions"]) == {"full", "record", "image"}
        assert subset["conditions"]["full"]["metrics"]["n_rows"] == subset["per_label"] * len(
            subset["labels"]
        )
        assert f"{subset['name']}, " in page

    model = AutoModelForImageTextToText.from_pretrained(run / "model")
    processor = AutoProcessor.from_pretrained(run / "model")
    example = done.examples[0]
    scan = chain.root / "simulated" / "SIM-A" / example.image
    answer = ask(model, processor, scan, "", temperature=Temperature.load(run / "model"))
    assert answer.notice == RESEARCH_USE
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert answer.calibrated


def test_evaluated_scores_equal_those_of_ask(run: Path, chain: Chain) -> None:
    """The token cache and the volume path give the same probabilities (cached = uncached)."""
    from medblip.study.record import record_text

    done = evaluate(run, chain.study, **chain.places, progress=False)
    model = AutoModelForImageTextToText.from_pretrained(run / "model")
    processor = AutoProcessor.from_pretrained(run / "model")
    for i in (0, 4):
        example = done.examples[i]
        answer = ask(
            model,
            processor,
            chain.root / "simulated" / "SIM-A" / example.image,
            record_text(example.fields),
            temperature=done.temperature,
        )
        cached = done.conditions["full"].probabilities[i]
        # The cache keeps float16 tokens: 1e-3 is their rounding.
        assert list(answer.probabilities.values()) == pytest.approx(cached.tolist(), abs=2e-3)


RUNNER = """
import sys
from pathlib import Path
from medblip.study.study import Study
from medblip.recipe import load_recipe
from medblip.training.building import build
from medblip.training.run import train
root, recipe, out = map(Path, sys.argv[1:])
train(load_recipe(recipe), Study.load(root / "study"), out,
      cubes=root / "cubes", tokens=root / "tokens", progress=False)
"""


@pytest.mark.parametrize("kill_after", ["align/checkpoint-2", "tune/checkpoint-4"])
def test_a_killed_run_ends_with_the_same_weights(
    run: Path, chain: Chain, tmp_path: Path, kill_after: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    chain.recipe.write(recipe)
    out = tmp_path / "killed"
    command = [sys.executable, "-c", RUNNER, str(chain.root), str(recipe), str(out)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (out / kill_after / COMPLETE).exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "done.json").exists()
    train(chain.recipe, chain.study, out, **chain.places, progress=False)
    assert learned_bytes(out) == learned_bytes(run)


def test_an_unfinished_run_is_not_evaluated(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        evaluate(tmp_path, chain.study, **chain.places, progress=False)


def test_an_incomplete_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    for step, complete in ((2, True), (4, True), (6, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if complete:
            (folder / COMPLETE).touch()
    newest = newest_complete(tmp_path)
    assert newest is not None
    assert newest.name == "checkpoint-4"


def test_simulation_is_deterministic_and_resumes(chain: Chain, world: Path, tmp_path: Path) -> None:
    plans = demo_cohorts(subjects=3, zero_shot_subjects=3)
    arguments = {"template": world / "template", "cache": chain.root / "anatomy", "workers": 1}
    first = simulate(tmp_path / "a", plans, progress=False, **arguments)
    simulate(tmp_path / "b", plans, progress=False, **arguments)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.nii.gz"))
    assert len(files) == first.images == first.written
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    (tmp_path / "a" / files[0]).unlink()
    again = simulate(tmp_path / "a", plans, progress=False, **arguments)
    assert again.written == 1
    assert (tmp_path / "a" / files[0]).read_bytes() == (tmp_path / "b" / files[0]).read_bytes()
    with pytest.raises(UsageError, match="other subjects"):
        simulate(tmp_path / "a", plans, seed=1, progress=False, **arguments)


def test_ground_truth_lies_apart_from_the_data_sets(chain: Chain) -> None:
    truth = ground_truth(chain.root / "simulated", "SIM-A")
    assert {"severity", "ventricles_mean_mm"} <= truth[0].keys()
    inside = [p.name for p in (chain.root / "simulated" / "SIM-A").rglob("*") if "truth" in p.name]
    assert inside == []


def test_two_processes_train_one_run(chain: Chain) -> None:
    recipe, out = chain.root / "recipe.yaml", chain.root / "by_two"
    chain.recipe.write(recipe)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["--study", chain.study.folder, "--out", out, "--cache", chain.root / "cubes"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "medblip", "train", recipe, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "MEDBLIP_CACHE": str(chain.root)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == [str(out / "model")]  # the first process says it, once
    rows = MetricsFile(out / "metrics.jsonl").read()
    kinds = [(r["stage"], r["step"], "validation_accuracy" in r) for r in rows]
    assert len(kinds) == len(set(kinds))
    assert {(s, n) for s, n, validated in kinds if validated} == {
        ("align", 4),
        ("tune", 4),
        ("tune", 8),
    }
    assert json.loads((out / "environment.json").read_text())["processes"] == 2
    AutoModelForImageTextToText.from_pretrained(out / "model")
