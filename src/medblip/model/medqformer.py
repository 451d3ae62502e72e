"""MedQFormer: learned queries that read image tokens, and a text stream in the same weights.

Post-norm BERT blocks as in BLIP-2. The query stream equals ``transformers.Blip2QFormerModel``
weight for weight and its parameters carry the same names, so BLIP-2 checkpoints load into it.
Unlike BLIP-2 one feed-forward network serves both streams: that is what makes the 151 M learned
parameters of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from medblip.model.configuration_medblip import MedQFormerConfig

# Boolean ``(batch, keys)``, True where a key may be seen; None sees all. Several such masks: the
# hidden states are packed, ``(1, tokens, width)``, blocks of ``batch * keys`` tokens after one
# another, each of which attends to itself alone. All but attention goes token by token, so texts of
# different lengths share a pass and are not padded to the longest.
Mask = Tensor | Sequence[Tensor] | None


class Attention(nn.Module):
    """Multi-head attention of ``hidden`` to itself or to image tokens, without the output map."""

    def __init__(self, config: MedQFormerConfig, key_width: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(key_width, config.hidden_size)
        self.value = nn.Linear(key_width, config.hidden_size)

    def forward(self, hidden: Tensor, source: Tensor, mask: Mask) -> Tensor:
        """``hidden (batch, length, width)`` attends to ``source (batch, keys, key_width)``."""
        q, k, v = self.query(hidden), self.key(source), self.value(source)
        if mask is None or isinstance(mask, Tensor):
            return self._attend(q, k, v, mask)
        blocks = zip(*(split_blocks(x, mask) for x in (q, k, v)), mask, strict=True)
        return torch.cat([self._attend_block(*block) for block in blocks], dim=1)

    def _attend_block(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """One packed block: ``(1, batch * length, width)`` in and out."""
        q, k, v = (x[0].unflatten(0, mask.shape) for x in (q, k, v))  # (batch, length, width)
        return self._attend(q, k, v, mask).flatten(0, 1)[None]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if len(q) == 0:  # CUDA's flash attention refuses a batch of 0; gradients are 0
            return q + k.sum() + v.sum()
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (batch, heads, n, width / heads)
            for x in (q, k, v)
        )
        attended = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)  # (batch, length, width)


class AddNorm(nn.Module):
    """Linear, dropout, residual, LayerNorm: the end of every post-norm sub-layer."""

    def __init__(self, config: MedQFormerConfig, in_width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dropout(self.dense(hidden)) + residual)
        return normed


class AttentionBlock(nn.Module):
    def __init__(self, config: MedQFormerConfig, key_width: int) -> None:
        super().__init__()
        self.attention = Attention(config, key_width)
        self.output = AddNorm(config, config.hidden_size)

    def forward(self, hidden: Tensor, source: Tensor, mask: Mask) -> Tensor:
        attended: Tensor = self.output(self.attention(hidden, source, mask), hidden)
        return attended


class FeedForward(nn.Module):
    def __init__(self, config: MedQFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.dense(hidden))
        return activated


class MedQFormerLayer(GradientCheckpointingLayer):
    """Self-attention, cross-attention (in some layers, query stream only), feed-forward."""

    def __init__(self, config: MedQFormerConfig, index: int) -> None:
        super().__init__()
        self.attention = AttentionBlock(config, config.hidden_size)
        self.crossattention = (
            AttentionBlock(config, config.encoder_hidden_size)
            if index % config.cross_attention_frequency == 0
            else None
        )
        self.intermediate_query = FeedForward(config)
        self.output_query = AddNorm(config, config.intermediate_size)

    def forward(
        self,
        hidden: Tensor,
        mask: Mask,
        image_tokens: Tensor | None,
        image_mask: Tensor | None,
    ) -> Tensor:
        hidden = self.attention(hidden, hidden, mask)
        if self.crossattention is not None and image_tokens is not None:
            hidden = self.crossattention(hidden, image_tokens, image_mask)
        out: Tensor = self.output_query(self.intermediate_query(hidden), hidden)
        return out


class MedQFormerEncoder(nn.Module):
    def __init__(self, config: MedQFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            MedQFormerLayer(config, i) for i in range(config.num_hidden_layers)
        )


class MedQFormer(nn.Module):
    """The transformer both streams share. Embeddings in, hidden states out."""

    def __init__(self, config: MedQFormerConfig) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.encoder = MedQFormerEncoder(config)

    def forward(
        self,
        embeddings: Tensor,
        mask: Mask = None,
        image_tokens: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> Tensor:
        """Run one stream.

        Args:
            embeddings: ``(batch, length, hidden_size)``: queries, or mapped text tokens.
            mask: boolean ``(batch, length)``, True at real tokens; None if all are. Several masks:
                as many batches of texts, packed as :data:`Mask` says.
            image_tokens: ``(batch, tokens, encoder_hidden_size)``; None runs the text stream,
                which has no cross-attention.
            image_mask: boolean ``(batch, tokens)``.

        Returns:
            ``(batch, length, hidden_size)``.
        """
        hidden = self.dropout(self.layernorm(embeddings))
        for layer in self.encoder.layer:
            hidden = layer(hidden, mask, image_tokens, image_mask)
        return hidden


def split_blocks(packed: Tensor, masks: Sequence[Tensor]) -> Sequence[Tensor]:
    """Packed ``(1, tokens, width)`` to one ``(1, batch * length, width)`` for each mask."""
    return packed.split([mask.numel() for mask in masks], dim=1)


def pool_text(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens.

    Args:
        hidden: ``(batch, length, width)``; mask ``(batch, length)``, 1 at real tokens.

    Returns:
        ``(batch, width)``; zeros for a row without any.
    """
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)


__all__ = ["MedQFormer", "pool_text", "split_blocks"]
