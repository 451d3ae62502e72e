"""The loader's settings, and the token cache that feeds it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from stage_inputs import dataset, token_cache, write_cubes
from tiny import build
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from medblip.training import loading, watching
from medblip.training import token_cache as module
from medblip.training.augmentation import Augmentation
from medblip.training.collating import Collator
from medblip.training.loading import loader_arguments
from medblip.training.pixels import to_pixels
from medblip.training.stage_trainer import StageTrainer, stage_arguments


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def maps_of(folder: Path) -> int:
    return Path("/proc/self/maps").read_text(encoding="utf-8").count(str(folder))


def test_a_cpu_gets_no_workers_and_a_gpu_some_with_pinned_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = loader_arguments(torch.device("cpu"))
    TrainingArguments(str(tmp_path), use_cpu=True, **cpu)  # it takes them all
    assert cpu["dataloader_num_workers"] == 0
    assert not cpu["dataloader_pin_memory"]
    monkeypatch.setattr(loading, "_can_hand_over", lambda: True)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    gpu = loader_arguments(torch.device("cuda"))
    assert gpu["dataloader_num_workers"] == 3
    assert gpu["dataloader_pin_memory"] and gpu["accelerator_config"] == {"non_blocking": True}
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert loader_arguments(torch.device("cuda"))["dataloader_num_workers"] == 4
    assert loader_arguments(torch.device("cpu"), workers=2)["dataloader_persistent_workers"]


def test_no_workers_where_shared_memory_is_too_small_for_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(loading, "LEAST_SHARED_BYTES", 1 << 60)
    assert loader_arguments(torch.device("cuda"))["dataloader_num_workers"] == 0
    monkeypatch.setattr(loading, "LEAST_SHARED_BYTES", 1)
    assert loader_arguments(torch.device("cuda"))["dataloader_num_workers"] > 0


def test_processes_share_the_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [e.cube for e in write_cubes(tmp_path / "cubes", 5)]
    cache = token_cache(tmp_path)
    waited: list[bool] = []
    encoded: list[int] = []
    encode = cache.encode
    monkeypatch.setattr(cache, "encode", lambda cube: encoded.append(cube.max()) or encode(cube))
    monkeypatch.setattr(module, "wait", lambda: waited.append(True))
    monkeypatch.setattr(module, "largest", lambda count: 3)  # that of the other process
    monkeypatch.setattr(module, "place", lambda: (1, 2))
    assert cache.fill([*names, names[0]], progress=False) == 2
    assert sorted(p.name for p in cache.folder.iterdir()) == [names[1], names[3]]
    assert [bool(brightest) for brightest in encoded] == [True, True, False]  # the last is blank
    assert waited == [True]
    monkeypatch.setattr(module, "place", lambda: (0, 2))
    assert cache.fill(names, progress=False) == 3
    monkeypatch.setattr(module, "largest", lambda count: count)
    assert cache.fill(names, progress=False) == 0


def test_kept_tokens_do_not_depend_on_what_else_is_encoded(tmp_path: Path) -> None:
    names = [e.cube for e in write_cubes(tmp_path / "cubes", 3)]
    cache = token_cache(tmp_path)
    cache.fill(names, progress=False)
    for name in names:
        expected = cache.encode(module.map_cube_array(cache.cubes / name))
        assert (cache.tokens(name) == expected.astype(np.float32)).all()


def test_a_damaged_file_is_made_again_but_not_by_a_worker(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 1)
    cache = token_cache(tmp_path)
    samples = dataset(examples, cache, token_dropout=0, token_noise=0, batch_size=1)
    before = samples[0]["image"]
    file = cache.folder / examples[0].cube
    file.write_bytes(file.read_bytes()[:40])
    loader = DataLoader(samples, batch_size=None, num_workers=1)
    with pytest.raises(RuntimeError, match=r"InputError: 0\.safetensors: .* cannot be read"):
        next(iter(loader))
    assert (samples[0]["image"] == before).all()
    assert (next(iter(loader))["image"].numpy() == before).all()


def test_a_worker_is_sent_no_model(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 2)
    cache = token_cache(tmp_path)
    cache.fill([e.cube for e in examples], progress=False)
    samples = dataset(examples, cache)
    sent = pickle.dumps(samples)
    assert len(sent) < 100_000
    received = pickle.loads(sent)  # noqa: S301 - what a process sends to its own worker
    assert received.cache.model is None
    for index in range(8):
        one, other = samples[index], received[index]
        assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("form", ["tokens", "cubes"])
def test_no_file_or_map_stays_open(tmp_path: Path, form: str) -> None:
    examples = write_cubes(tmp_path / "cubes", 4)
    cache = token_cache(tmp_path)
    if form == "cubes":
        live = module.LiveTokens(cache.model, cache.cubes)
        samples = dataset(examples, live, token_dropout=0, token_noise=0)
    else:
        samples = dataset(examples, cache)
    samples[0]
    before = open_files()
    for index in range(100):
        samples[index]
    assert open_files() == before
    assert maps_of(tmp_path) == 0


def test_time_spent_waiting_is_reported_as_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    gauges = watching.Gauges(build(), batch_size=8)
    with gauges.waiting():
        now[0] += 3
    now[0] += 6
    with gauges.paused():
        now[0] += 50  # a look at the validation split is not training
    now[0] += 1
    assert gauges.read(5)["data_wait_share"] == pytest.approx(0.3)
    now[0] += 10
    assert gauges.read(10)["data_wait_share"] == 0


def test_volumes_reach_the_model_augmented_by_their_samples_seeds(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 5)
    model = build().train()
    live = module.LiveTokens(model, tmp_path / "cubes")
    changed = {"augment": {"rotate_degrees": 20, "noise": 0.1}, "steps": 2, "batch_size": 4}
    samples = dataset(examples, live, token_dropout=0, token_noise=0, blank_image=0.3, **changed)
    trainer = StageTrainer(
        model=model,
        args=stage_arguments(tmp_path, samples.stage, 0, "float32", torch.device("cpu")),
        train_dataset=samples,
        data_collator=Collator(0, False, samples.blank),
        stage=samples.stage,
        gauges=watching.Gauges(model, batch_size=4),
    )
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 2
    for number, batch in enumerate(batches):
        assert batch["volumes"].dtype == torch.uint8
        inputs = trainer._prepare_inputs(batch)
        assert not {"volumes", "seeds"} & set(inputs)
        drawn = [samples[number * 4 + i] for i in range(4)]
        pixels = to_pixels([sample["image"] for sample in drawn])
        seeds = torch.tensor([sample["seed"] for sample in drawn])
        expected = Augmentation(samples.stage.augment)(pixels, seeds)
        assert torch.equal(inputs["pixel_values"], expected)
        assert not torch.equal(expected, pixels)
