"""Contrast: texts through the MedQFormer's text stream, against the queries of images (Eq. 4).

Shapes in the comments are those of the paper's recipe, as in ``modeling_medblip.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medblip.model.configuration_medblip import MedBlipConfig
from medblip.model.losses import (
    choice_loss,
    contrastive_loss,
    gather_rows,
    same_text,
)
from medblip.model.medqformer import MedQFormer, pool_text, split_blocks

Text = tuple[Tensor, Tensor]  # token ids and mask, (batch, length) each
TEMPERATURES = (0.01, 0.5)  # the range of the learned contrastive temperature


class MedBlipContrastMixin:
    """How the model compares images with texts; the modules it uses are the model's."""

    config: MedBlipConfig
    qformer: MedQFormer
    text_map: nn.Linear
    text_positions: nn.Embedding
    image_contrast: nn.Linear
    text_contrast: nn.Linear
    temperature: nn.Parameter
    _embed: Any

    # ------------------------------------------------------------------ texts
    def embed_texts(self, texts: Sequence[Text]) -> list[Tensor]:
        """The text stream, all batches of texts in one pass.

        Args:
            texts: token ids and mask ``(batch, length)`` of each batch; lengths may differ.

        Returns:
            Pooled ``(batch, 768)`` of each.
        """
        masks = [mask.bool() for _, mask in texts]
        words = [self._place_words(ids, mask).flatten(0, 1) for ids, mask in texts]
        hidden = self.qformer(torch.cat(words)[None], masks)  # (1, tokens of all, 768)
        return [
            pool_text(part[0].unflatten(0, mask.shape), mask)
            for part, mask in zip(split_blocks(hidden, masks), masks, strict=True)
        ]

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The text stream: token ids ``(batch, length)`` -> pooled ``(batch, 768)``."""
        return self.embed_texts([(ids, mask)])[0]

    def _place_words(self, ids: Tensor, mask: Tensor) -> Tensor:
        words = self._embed(ids, mask).to(self.text_map.weight.dtype)
        places = (mask.long().cumsum(1) - 1).clamp(min=0)  # independent of padding
        placed: Tensor = self.text_map(words) + self.text_positions(places)
        return placed

    # ------------------------------------------------------------------ losses
    def contrast(self, query_states: Tensor, texts: Sequence[Text | None]) -> list[Tensor | None]:
        """The contrastive losses of Eq. 4, over the images and texts of all processes.

        Args:
            query_states: ``(images, 32, 768)``.
            texts: ids and mask ``(images, length)`` of each kind of text (record; question and
                answer), or None. All kinds go through the text stream in one pass.

        Returns:
            One scalar for each kind, None where ``texts`` holds None.
        """
        given = [text for text in texts if text is not None]
        if not given:
            return [None] * len(texts)
        temperature, *features = self.contrast_features(query_states, given)
        image, *gathered = (gather_rows(x) for x in features)
        losses = iter(
            self.contrast_loss(image, text, temperature, gather_rows(ids), gather_rows(mask))
            for text, (ids, mask) in zip(gathered, given, strict=True)
        )
        return [None if text is None else next(losses) for text in texts]

    def contrast_choices(
        self,
        query_states: Tensor,
        ids: Tensor,
        mask: Tensor,
        rows: Tensor,
        places: Tensor,
        right: Tensor,
    ) -> Tensor:
        """See :func:`medblip.model.losses.choice_loss`; the arguments are those of ``forward``."""
        temperature, image, text = self.contrast_features(query_states[rows], [(ids, mask)])
        return choice_loss(image, text, temperature, places, right)

    def contrast_features(self, query_states: Tensor, texts: Sequence[Text]) -> tuple[Tensor, ...]:
        """What the contrastive losses compare.

        Args:
            query_states: ``(images, 32, 768)``.
            texts: ids and mask ``(images, length)`` of each kind of text.

        Returns:
            The temperature; unit vectors ``(images, 32, 256)`` of the images; and of each kind of
            text, ``(images, 256)``.
        """
        image = F.normalize(self.image_contrast(query_states), dim=-1)
        embedded = [F.normalize(self.text_contrast(x), dim=-1) for x in self.embed_texts(texts)]
        # Clamped where it lies: past a clamp in the graph it would get no gradient to come back.
        self.temperature.data.clamp_(*TEMPERATURES)
        return self.temperature.view(()), image, *embedded

    def contrast_loss(
        self, image: Tensor, text: Tensor, temperature: Tensor, ids: Tensor, mask: Tensor
    ) -> Tensor:
        """Eq. 4 of one kind of text, from :meth:`contrast_features` and its tokens."""
        if self.config.itc_targets == "same_text":
            positives = same_text(ids, mask)
        else:
            positives = torch.eye(len(text), dtype=torch.bool, device=text.device)
        return contrastive_loss(
            image, text, temperature, positives, float(self.config.itc_label_smoothing)
        )


__all__ = ["TEMPERATURES", "MedBlipContrastMixin", "Text"]
