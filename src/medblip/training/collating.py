"""Samples to one batch of model inputs, with the same keys on every process and in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medblip.model.modeling_medblip import IGNORED
from medblip.training.pixels import stack_cubes

Row = Sequence[int] | NDArray[np.int32]
CONTRASTED = {"record": "record", "answer": "question_answer"}  # kind of text -> key of a sample


class Collator:
    """Samples, as :class:`medblip.training.data.StageDataset` gives them, to one batch.

    A batch may hold no image, or no pair of image and text to contrast. It then has no rows of
    them, but still their keys: on several processes all take part in gathering what is contrasted,
    whatever their own share holds, and all parameters get a gradient.

    Args:
        pad_id: of the tokenizer.
        encoder_decoder: answers then are decoder labels instead of following the prompt.
        blank: an image as samples hold it, ``(tokens, width)`` or a cube ``(D, H, W)`` of bytes:
            the form of no images. None leaves images out of a batch without any.
        contrasted: kinds of texts that images are contrasted with.
    """

    def __init__(
        self,
        pad_id: int,
        encoder_decoder: bool,
        blank: NDArray[Any] | None = None,
        contrasted: Sequence[str] = tuple(CONTRASTED),
    ) -> None:
        self.pad_id = pad_id
        self.encoder_decoder = encoder_decoder
        self.blank = blank
        self.contrasted = contrasted

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """One batch.

        Returns:
            ``image_tokens (images, tokens, width)`` and ``image_mask``; or ``volumes
            (images, 1, D, H, W)`` uint8 and the ``seeds (images,)`` of their augmentation: sample
            by sample, the previous scan of each, if it has one, before its image. Where
            samples hold texts to contrast: ``contrast_rows (pairs,)`` among the images,
            ``record_ids``, ``answer_ids (pairs, length)`` and their masks. Where they hold
            prompts: ``input_ids``, ``attention_mask``, ``labels``. Where they hold choices:
            ``choice_ids (texts, length)`` and ``choice_mask`` of the distinct ones, and of each
            sample that has some ``choice_rows`` among the images, ``choice_places (questions,
            choices)`` among the texts, -1 where it has fewer, and ``choice_right``.
        """
        images = [sample for sample in samples if "image" in sample]
        batch = self._images(images)
        if any("contrasted" in sample for sample in samples):
            batch |= self._contrasted(images)
        if "choices" in samples[0]:
            batch |= self._choices(images)
        if "prompt" in samples[0]:
            batch |= self._language(samples)
        return batch

    def _images(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        rows = [s[name] for s in samples for name in ("previous", "image") if name in s]
        shown = rows or ([] if self.blank is None else [self.blank])  # none: its form is still told
        if not shown:
            return {}
        if shown[0].ndim == 3:
            seeds = [s[name] for s in samples for name in ("previous_seed", "seed") if name in s]
            volumes = stack_cubes(shown)[: len(rows)]
            return {"volumes": volumes, "seeds": torch.tensor(seeds, dtype=torch.int64)}
        tokens, mask = stack_tokens(shown)
        return {"image_tokens": tokens[: len(rows)], "image_mask": mask[: len(rows)]}

    def _contrasted(self, images: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        paired = [sample for sample in images if sample["contrasted"]]
        rows = _rows(images)[[sample["contrasted"] for sample in images]]
        batch = {"contrast_rows": torch.from_numpy(rows)}
        for name in self.contrasted:
            texts = [sample[CONTRASTED[name]] for sample in paired]
            batch[f"{name}_ids"], batch[f"{name}_mask"] = pad(texts, self.pad_id)
        return batch

    def _choices(self, images: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        asked = [len(sample["choices"]) > 0 for sample in images]
        questions = [sample for sample, has in zip(images, asked, strict=True) if has]
        distinct = {choice.tobytes(): choice for q in questions for choice in q["choices"]}
        number = {text: at for at, text in enumerate(distinct)}
        places = [np.array([number[c.tobytes()] for c in q["choices"]]) for q in questions]
        ids, mask = pad(list(distinct.values()), self.pad_id)
        return {
            "choice_ids": ids,
            "choice_mask": mask,
            "choice_rows": torch.from_numpy(_rows(images)[asked]),
            "choice_places": pad(places, -1, left=False)[0],
            "choice_right": torch.tensor([q["right"] for q in questions], dtype=torch.int64),
        }

    def _language(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        answers = [sample["answer"] for sample in samples]
        if self.encoder_decoder:
            ids, mask = pad([sample["prompt"] for sample in samples], self.pad_id)
            labels, real = pad(answers, self.pad_id, left=False)
            labels = labels.masked_fill(real == 0, IGNORED)
        else:
            rows = [np.concatenate([s["prompt"], s["answer"]]) for s in samples]
            ids, mask = pad(rows, self.pad_id)
            labels = pad(answers, IGNORED, length=ids.shape[1])[0]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _rows(images: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
    """Row, among the images, of each sample's own one, which its previous scan stands before."""
    rows: NDArray[np.int64] = np.cumsum([1 + ("previous" in sample) for sample in images]) - 1
    return rows.astype(np.int64)


def pad(
    rows: Sequence[Row], value: int, *, left: bool = True, length: int = 1
) -> tuple[Tensor, Tensor]:
    """Rows of ids to ``(rows, longest)`` int64, and their mask (1 at real tokens).

    Args:
        value: put where a row has nothing: on its left, or on its right.
        length: at least so many columns.
    """
    longest = max([length, *(len(row) for row in rows)])
    ids = torch.full((len(rows), longest), value, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(len(row))
        ids[i, place], mask[i, place] = torch.as_tensor(row), 1
    return ids, mask


def stack_tokens(rows: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
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
