"""What each training step sees, decided before the first one.

A stage's schedule lists every sample of every step: which example, what is shown of it, and the
seed of its noise. So the data order needs no state: a resumed run reads on in the same list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medblip.model.modeling_medblip import IGNORED
from medblip.model.prompt import PromptBuilder, pad_left
from medblip.recipe import StageSection
from medblip.study.labels import ANSWERS, QUESTION
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.token_cache import LiveTokens, TokenCache, to_pixels
from medblip.volumes import map_cube_array

Shown = Literal["both", "record", "blank", "image"]


@dataclass(frozen=True)
class Draw:
    """One sample of the schedule."""

    example: int
    shown: Shown
    seed: int


def make_schedule(examples: int, stage: StageSection, seed: int) -> list[Draw]:
    """``stage.steps * stage.batch_size`` draws: whole shuffled passes over the examples."""
    rng = np.random.default_rng(seed)
    total = stage.steps * stage.batch_size
    passes = [rng.permutation(examples) for _ in range(-(-total // max(examples, 1)))]
    order = np.concatenate(passes)[:total] if passes else np.zeros(0, int)
    shares = [stage.without_image, stage.blank_image, stage.without_record]
    kinds: list[Shown] = ["record", "blank", "image", "both"]
    picked = rng.choice(len(kinds), size=total, p=[*shares, 1.0 - sum(shares)])
    seeds = rng.integers(0, 2**32, size=total)
    return [Draw(int(e), kinds[k], int(s)) for e, k, s in zip(order, picked, seeds, strict=True)]


class StageDataset(Dataset[dict[str, Any]]):
    """The samples of one stage, in the order of its schedule.

    Args:
        examples: training sessions.
        form: how records are said.
        cache: gives image tokens; or, if it keeps none, the samples hold cubes to be encoded.
        prompts: builds token ids.
        stage, seed: shape and order of the schedule.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        form: RecordForm,
        cache: LiveTokens,
        prompts: PromptBuilder,
        stage: StageSection,
        seed: int,
    ) -> None:
        self.examples = examples
        self.form = form
        self.cache = cache
        self.prompts = prompts
        self.stage = stage
        self.cached = isinstance(cache, TokenCache)
        self.schedule = make_schedule(len(examples), stage, seed)

    def __len__(self) -> int:
        return len(self.schedule)

    def __getitem__(self, index: int) -> dict[str, Any]:
        draw = self.schedule[index]
        example = self.examples[draw.example]
        record = self.form.text(example.fields)
        answer = ANSWERS[example.label]
        sample: dict[str, Any] = {"contrasted": draw.shown in ("both", "image")}
        if draw.shown != "record":
            sample |= self._image(example, draw)
        if sample["contrasted"]:
            sample["record"] = self._contrast_ids(record)
            sample["question_answer"] = self._contrast_ids(question_and_answer(answer))
        if self.stage.language > 0:
            sample["prompt"] = self.prompts.prompt(
                "" if draw.shown == "image" else record, QUESTION, image=draw.shown != "record"
            ).ids
            sample["answer"] = self.prompts.answer(answer)
        return sample

    def _contrast_ids(self, text: str) -> list[int]:
        # An empty record still is a text: one end-of-sequence token.
        return self.prompts.contrast_text(text, 512) or [self.prompts.tokenizer.eos_token_id]

    def _image(self, example: Example, draw: Draw) -> dict[str, NDArray[Any]]:
        blank = draw.shown == "blank"
        if not self.cached:
            cube = (
                self.cache.blank_cube if blank else map_cube_array(self.cache.cubes / example.cube)
            )
            return {"cube": cube}
        if blank:
            return {"tokens": self.cache.blank}
        rng = np.random.default_rng(draw.seed)
        return {"tokens": augment(self.cache.tokens(example.cube), self.stage, rng)}


def question_and_answer(answer: str) -> str:
    """The text of ITC(I, Q&A)."""
    return f"Question: {QUESTION} Answer: {answer}"


def augment(
    tokens: NDArray[np.float32], stage: StageSection, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Drop image tokens at random (never CLS) and add noise of the tokens' own size."""
    if stage.token_dropout > 0:
        keep = rng.random(len(tokens)) >= stage.token_dropout
        keep[0] = True
        tokens = tokens[keep]
    if stage.token_noise > 0:
        noise = rng.standard_normal(tokens.shape, dtype=np.float32)
        tokens = tokens + noise * (stage.token_noise * float(tokens.std()))
    return tokens


class Collator:
    """Samples to one batch of model inputs.

    Args:
        pad_id: of the tokenizer.
        encoder_decoder: answers then are decoder labels instead of following the prompt.
    """

    def __init__(self, pad_id: int, encoder_decoder: bool) -> None:
        self.pad_id = pad_id
        self.encoder_decoder = encoder_decoder

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = {}
        images = [s for s in samples if "tokens" in s or "cube" in s]
        if images and "cube" in images[0]:
            batch["pixel_values"] = to_pixels([s["cube"] for s in images])
        elif images:
            batch["image_tokens"], batch["image_mask"] = stack_tokens([s["tokens"] for s in images])
        rows = [i for i, s in enumerate(images) if s["contrasted"]]
        if len(rows) > 1:  # one pair alone has nothing to be told apart from
            contrasted = [images[i] for i in rows]
            batch["contrast_rows"] = torch.tensor(rows)
            for name, key in (("record", "record"), ("answer", "question_answer")):
                ids, mask = self._pad([s[key] for s in contrasted])
                batch[f"{name}_ids"], batch[f"{name}_mask"] = ids, mask
        if "prompt" in samples[0]:
            batch |= self._language(samples)
        return batch

    def _language(self, samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if self.encoder_decoder:
            ids, mask = self._pad([s["prompt"] for s in samples])
            answers, real = self._pad([s["answer"] for s in samples], left=False)
            labels = answers.masked_fill(real == 0, IGNORED)
            return {"input_ids": ids, "attention_mask": mask, "labels": labels}
        ids, mask = self._pad([[*s["prompt"], *s["answer"]] for s in samples])
        labels = torch.full_like(ids, IGNORED)
        for row, sample in enumerate(samples):
            answer = sample["answer"]
            labels[row, -len(answer) :] = torch.tensor(answer)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def _pad(
        self, rows: Sequence[Sequence[int]], left: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        turned = rows if left else [list(row)[::-1] for row in rows]
        ids, mask = (torch.tensor(x) for x in pad_left(turned, self.pad_id))
        return (ids, mask) if left else (ids.flip(1), mask.flip(1))


def stack_tokens(
    rows: Sequence[NDArray[np.float32]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token arrays of several lengths to ``(n, longest, width)``, zero-padded, and their mask."""
    longest = max(len(row) for row in rows)
    # torch's own memory, not numpy's: its alignment is always the same, and so are the last bits
    # of what is computed from it. A resumed run depends on that.
    stacked = torch.zeros(len(rows), longest, rows[0].shape[1])
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        stacked[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = True
    return stacked, mask
