"""What the step benchmarks run on: two sizes of the system, simulated heads, texts as tokens.

The same scans and texts are given to the reference's computation and to ours, each in the form it
wants them. Weights are random; token ids are too, since only their number matters here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.losses import IGNORED
from medblip.model.pretrained import embedded_files
from medblip.model.prompt import pad_left
from medblip.recipe import Recipe, load_recipe
from medblip.simulate.anatomy import load_anatomy
from medblip.simulate.cohort import demo_cohorts, draw_cohort
from medblip.simulate.scanner import acquire
from medblip.training.planning.model import new_model
from medblip.volumes import Preprocessing, Volume, preprocess

HALF_VISION = {
    "model_type": "blip_2_vision_model",
    "hidden_size": 704,
    "intermediate_size": 3072,
    "num_hidden_layers": 20,
    "num_attention_heads": 8,
    "image_size": 224,
    "patch_size": 14,
}
HALF_LANGUAGE = {
    "model_type": "gpt2",
    "n_embd": 1280,
    "n_layer": 16,
    "n_head": 10,
    "n_positions": 1024,
    "vocab_size": 28896,
    "bos_token_id": 28895,
    "eos_token_id": 28895,
}
QUESTION = 12  # tokens of " Question: What will this subject be diagnosed with? Answer:"
# " Dementia", " Not demented", " mild cognitive impairment (MCI)", each with its end of sequence.
ANSWERS = (2, 4, 8)


@dataclass(frozen=True)
class Size:
    """One size of the system and a batch's texts.

    Attributes:
        recipe: without LoRA, which the reference has not, and with 32 queries.
        records: tokens of each sample's record: quantiles over 400 records of simulated cohorts,
            some of whose fields are missing.
    """

    recipe: Recipe
    records: tuple[int, ...]

    @property
    def batch(self) -> int:
        return len(self.records)


def size_of(name: str) -> Size:
    """``demo``, or ``half``: half the paper's width and depth."""
    if name == "demo":
        recipe = load_recipe("embedded", ["model.qformer.num_query_tokens=32", "model.lora=null"])
        return Size(recipe, (26, 32, 32, 33, 33, 33, 34, 34))
    recipe = load_recipe(
        "paper/biomedlm-frozen",
        [
            "model.base_dtype=float32",
            "model.qformer.hidden_size=384",
            "model.qformer.num_hidden_layers=6",
            "model.qformer.num_attention_heads=6",
            "model.qformer.intermediate_size=1536",
        ],
    )
    towers = {"vision_architecture": HALF_VISION, "language_architecture": HALF_LANGUAGE}
    section = recipe.model.model_copy(update=towers)
    half = recipe.model_copy(update={"model": section, "name": "half"})
    return Size(half, (61, 77, 77, 78, 78, 78, 79))


def model_of(
    size: Size, *, train_patch_embedding: bool, skip_background: bool
) -> MedBlipForConditionalGeneration:
    """The size's model with random weights, ready for training."""
    section = size.recipe.model.model_copy(update={"train_patch_embedding": train_patch_embedding})
    recipe = size.recipe.model_copy(update={"model": section})
    model = new_model(recipe, recipe.tune, MedBlipForConditionalGeneration)
    model.config.skip_background = skip_background
    return model


def heads(size: Size) -> Tensor:
    """Simulated heads as ``pixel_values (batch, 1, D, H, W)``, background exactly 0."""
    embedded = embedded_files(verify=False)
    anatomy = load_anatomy(embedded.anatomy, Path.home() / ".cache" / "medblip" / "anatomy")
    # Alternately of the two sites: without a skull, and with it.
    cohorts = [draw_cohort(plan, 0) for plan in demo_cohorts()[:2]]
    settings = Preprocessing(size=size.recipe.model.volume_size)
    cubes = []
    for number in range(size.batch):
        subject = cohorts[number % 2][number // 2]
        scan = acquire(anatomy, subject, subject.sessions[0])
        cube = preprocess(Volume(scan.array.astype(np.float32), scan.affine), settings)
        cubes.append(torch.from_numpy(cube.array))
    return torch.stack(cubes)[:, None].float() / 255


@dataclass(frozen=True)
class Texts:
    """Token ids of each sample."""

    records: list[list[int]]
    questions: list[list[int]]
    answers: list[list[int]]


def texts_of(size: Size) -> Texts:
    """Texts of the size's lengths; the answers take turns."""
    vocabulary = _vocabulary(size)
    rng = np.random.default_rng(0)

    def draw(length: int) -> list[int]:
        return [int(i) for i in rng.integers(1, vocabulary - 1, length)]

    question = draw(QUESTION)
    answers = [draw(length) for length in ANSWERS]
    return Texts(
        records=[draw(length) for length in size.records],
        questions=[question] * size.batch,
        answers=[answers[i % len(answers)] for i in range(size.batch)],
    )


def image_token_id(size: Size) -> int:
    """Placeholder of a prefix position: an id past the vocabulary."""
    return _vocabulary(size)


def our_prompts(size: Size, texts: Texts) -> list[list[int]]:
    """Prefix, record, question: the paper's order."""
    prefix = [image_token_id(size)] * size.recipe.model.qformer.num_query_tokens
    return [
        [*prefix, *record, *question]
        for record, question in zip(texts.records, texts.questions, strict=True)
    ]


def our_texts(size: Size, texts: Texts) -> dict[str, Tensor]:
    """The text inputs of our ``forward``, as the collator makes them: padded to the longest."""
    rows = [[*p, *a] for p, a in zip(our_prompts(size, texts), texts.answers, strict=True)]
    ids, mask = padded(rows)
    labels = torch.full_like(ids, IGNORED)
    for row, answer in zip(labels, texts.answers, strict=True):
        row[-len(answer) :] = torch.tensor(answer)
    asked = [[*q, *a[:-1]] for q, a in zip(texts.questions, texts.answers, strict=True)]
    record_ids, record_mask = padded(texts.records)
    answer_ids, answer_mask = padded(asked)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "record_ids": record_ids,
        "record_mask": record_mask,
        "answer_ids": answer_ids,
        "answer_mask": answer_mask,
        "contrast_rows": torch.arange(size.batch),
    }


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    ids, mask = pad_left(rows, 0)
    return torch.tensor(ids), torch.tensor(mask)


def _vocabulary(size: Size) -> int:
    architecture: dict[str, Any] = size.recipe.model.language_architecture or {}
    return int(architecture["vocab_size"])
