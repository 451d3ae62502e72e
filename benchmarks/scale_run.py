"""Trainings of a tiny model that differ in nothing but the division of their steps.

Starts under any launcher; `scale.py` and the tests start it with one process and with two.

    python benchmarks/scale_run.py FOLDER JOBS.json
    torchrun --nproc-per-node 2 benchmarks/scale_run.py FOLDER JOBS.json

Each job of the list is a :class:`Job`. Samples show image and record, the record alone, a blank
image, or the image alone; texts and answers differ in length. There is no dropout, since each
process draws its own. Results go to ``FOLDER/NAME.json`` and ``.safetensors``.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import transformers
from safetensors.torch import save_file
from torch.utils.data import Dataset
from transformers import (
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration
from medblip.model.base_identity import describe_base
from medblip.model.bases import load_language, load_vision
from medblip.recipe import StageSection
from medblip.training.agreement import is_first_process
from medblip.training.collating import Collator
from medblip.training.learned import set_learned
from medblip.training.processes import join
from medblip.training.sharding import everywhere, shard_towers
from medblip.training.stage_trainer import StageTrainer, stage_arguments
from medblip.training.watching import Gauges

VOCABULARY, WIDTH, QUERIES, SIZE = 64, 32, 4, 16
IMAGE, PAD = 63, 0
KINDS = ("both", "record", "blank", "image")
SHARES = (0.5, 0.3, 0.1, 0.1)
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        micro: samples that a process takes at a time; None for its whole share.
        until: step to stop at, with a checkpoint.
        resume: name of the job whose last checkpoint to go on from.
        shard: split the frozen towers among the processes.
        volumes: volumes pass through the vision tower, and the patch embedding learns.
        records: share of samples that show the record alone; None for the usual mixture.
        width, layers: of everything, where the time counts.
        recompute: activations in the backward pass.
        apart: average each piece's own losses instead, as plain accumulation does.
    """

    name: str
    steps: int = 50
    batch: int = 8
    micro: int | None = None
    until: int | None = None
    resume: str | None = None
    shard: bool = False
    volumes: bool = False
    records: float | None = None
    targets: str = "same_text"
    width: int = WIDTH
    layers: int = 2
    apart: bool = False
    recompute: bool = False


class Samples(Dataset[dict[str, Any]]):
    """Made-up samples in the form of `medblip.training.data.StageDataset`; each from its index."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.blank = np.zeros((SIZE,) * 3, np.uint8) if job.volumes else np.zeros((3, job.width))
        self.blank = self.blank if job.volumes else self.blank.astype(np.float32)
        only = job.records
        self.shares = SHARES if only is None else (1.0 - only, only, 0.0, 0.0)

    def __len__(self) -> int:
        return self.job.steps * self.job.batch

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((7, index))
        shown = KINDS[rng.choice(len(KINDS), p=self.shares)]
        label = int(rng.integers(3))
        record = [10 + label, *rng.integers(10, 60, rng.integers(2, 9))]
        sample: dict[str, Any] = {"contrasted": shown in ("both", "image")}
        if shown != "record":
            sample |= {"image": self._image(rng, label, shown), "seed": index}
        if sample["contrasted"]:
            sample |= {"record": np.array(record), "question_answer": np.array([5, 6, 7 + label])}
        said = [] if shown == "image" else record
        prompt = [*([] if shown == "record" else [IMAGE] * QUERIES), *said, 5]
        return sample | {"prompt": np.array(prompt), "answer": np.array([1, 2, 3, 4][: 2 + label])}

    def _image(self, rng: np.random.Generator, label: int, shown: str) -> Any:
        if shown == "blank":
            return self.blank
        if self.job.volumes:
            return rng.integers(20, 120 + 60 * label, self.blank.shape, dtype=np.uint8)
        tokens = rng.standard_normal((int(rng.integers(4, 9)), self.job.width), dtype=np.float32)
        return tokens + label


def write_towers(folder: Path, width: int, layers: int) -> None:
    """Both towers with random weights, as pretrained ones lie on disk."""
    torch.manual_seed(1)
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=28)).save_pretrained(folder / "vision")
    language = LlamaConfig(
        **sizes, vocab_size=VOCABULARY, intermediate_size=2 * width, pad_token_id=PAD
    )
    LlamaForCausalLM(language).save_pretrained(folder / "language")


def new_model(folder: Path, job: Job) -> MedBlipForConditionalGeneration:
    """The same model in every process."""
    towers = folder / f"towers-{job.width}-{job.layers}"
    if is_first_process() and not towers.exists():
        write_towers(towers, job.width, job.layers)
    if dist.is_initialized():
        dist.barrier()
    parts = load_vision(towers / "vision"), load_language(towers / "language")
    qformer = {"hidden_size": job.width, "num_hidden_layers": job.layers, "num_attention_heads": 2}
    config = MedBlipConfig(
        vision_config=parts[0].config,
        text_config=parts[1].config,
        vision_base=describe_base(str(towers / "vision")),
        language_base=describe_base(str(towers / "language")),
        qformer_config={
            **qformer,
            **NO_DROPOUT,
            "num_query_tokens": QUERIES,
            "intermediate_size": 2 * job.width,
        },
        lora={"r": 2, "lora_alpha": 4, "lora_dropout": 0.0},
        volume_size=SIZE,
        volume_patch_size=8,
        itc_hidden_size=16,
        itc_targets=job.targets,
        image_token_id=IMAGE,
    )
    torch.manual_seed(2)
    return MedBlipForConditionalGeneration.from_components(config, *parts)


class Losses(TrainerCallback):
    """Keeps each step's losses, and stops where the job says."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.rows: list[dict[str, float]] = []

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step == self.job.until:
            control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any
    ) -> None:
        if "grad_norm" in logs:
            self.rows.append({"step": state.global_step, **logs})


def run(folder: Path, job: Job) -> None:
    """Train; the first process writes what came of it."""
    model = new_model(folder, job)
    stage = StageSection(
        steps=job.steps, batch_size=job.batch, micro_batch_size=job.micro, save_every=job.steps
    )
    set_learned(model, stage, entry=job.volumes)
    if job.shard:
        shard_towers(model, everywhere(torch.device("cpu")), vision=job.volumes)
        assert any(hasattr(p, "device_mesh") for p in model.language_model.parameters())
    if job.recompute:
        model.gradient_checkpointing_enable()
    samples, losses = Samples(job), Losses(job)
    arguments = stage_arguments(folder / job.name, stage, 0, "float32", torch.device("cpu"))
    arguments.logging_steps = 1
    trainer = StageTrainer(
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=Collator(PAD, False, samples.blank),
        stage=stage,
        gauges=Gauges(model, stage.batch_size),
        callbacks=[losses],
    )
    trainer.loss_is_scaled_for_ga = trainer.loss_is_scaled_for_ga and not job.apart
    for callback in (transformers.ProgressCallback, transformers.PrinterCallback):
        trainer.remove_callback(callback)
    source = None
    if job.resume:
        source = next((folder / job.resume).glob("checkpoint-*"))
        trainer.load(source)
    begun = time.perf_counter()
    trainer.train(resume_from_checkpoint=source and str(source))
    seconds = time.perf_counter() - begun
    if is_first_process():
        learned = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        save_file(learned, folder / f"{job.name}.safetensors")
        found = {"job": asdict(job), "seconds": seconds, "rows": losses.rows}
        (folder / f"{job.name}.json").write_text(json.dumps(found))


def main() -> None:
    folder, jobs = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    join(torch.device("cpu"))
    for job in jobs:
        run(folder, Job(**job))


if __name__ == "__main__":
    main()
