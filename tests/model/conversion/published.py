"""The published models written down again: plain torch, the publishers' names, nothing of ours.

Each forward pass follows the paper and the shapes of the weights; it shares no code with what is
tested. Weights are random and large enough that every one of them is seen in the output.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD, BERT_HEAD = 88, 64  # widths of one head, fixed in the published models
BLOCK_EPS, LAVIS_EPS, BERT_EPS = 1e-6, 1e-5, 1e-12


def randomised(model: nn.Module, seed: int = 0, std: float = 0.1) -> nn.Module:
    """Every parameter from a normal; scales of norms round 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1.0)
    return model.eval()


def attend(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    """Attention head by head, ``width`` channels each."""
    heads = []
    for at in range(0, q.shape[-1], width):
        part = slice(at, at + width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width)
        heads.append(scores.softmax(-1) @ v[..., part])
    return torch.cat(heads, -1)


class EvaAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (x @ self.qkv.weight.T).chunk(3, -1)
        return self.proj(attend(q + self.q_bias, k, v + self.v_bias, HEAD))


class EvaBlock(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.attn = EvaAttention(width)
        self.norm2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Eva(nn.Module):
    """LAVIS's tower: (batch, 3, size, size) -> (batch, 1 + patches, width), no final norm."""

    def __init__(
        self,
        width: int = 2 * HEAD,
        hidden: int = 48,
        layers: int = 2,
        size: int = 16,
        patch: int = 8,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.patch_embed = nn.ModuleDict({"proj": conv})
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (size // patch) ** 2, width))
        self.blocks = nn.ModuleList(EvaBlock(width, hidden) for _ in range(layers))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x


class Eva3d(nn.Module):
    """The reference's tower: (batch, 1, k, j, i) as SimpleITK orders a file's voxels."""

    def __init__(
        self,
        width: int = 2 * HEAD,
        hidden: int = 48,
        layers: int = 2,
        size: int = 16,
        patch: int = 8,
    ) -> None:
        super().__init__()
        conv = nn.Conv3d(1, width, kernel_size=patch, stride=patch)
        self.patch_embed_3d = nn.ModuleDict({"proj": conv})
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed_3d = nn.Parameter(torch.empty(1, 1 + (size // patch) ** 3, width))
        self.blocks = nn.ModuleList(EvaBlock(width, hidden) for _ in range(layers))

    def embed(self, volumes: Tensor) -> Tensor:
        x = self.patch_embed_3d["proj"](volumes).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed_3d

    def forward(self, volumes: Tensor) -> Tensor:
        x = self.embed(volumes)
        for block in self.blocks:
            x = block(x)
        return x


class BertSelf(nn.Module):
    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source, width)
        self.value = nn.Linear(source, width)


class BertOutput(nn.Module):
    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=BERT_EPS)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nn.Module):
    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.add_module("self", BertSelf(width, source))
        self.output = BertOutput(width, width)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        maps = self._modules["self"]
        attended = attend(maps.query(x), maps.key(source), maps.value(source), BERT_HEAD)
        return self.output(attended, x)


class BertLayer(nn.Module):
    def __init__(self, width: int, hidden: int, source: int, index: int) -> None:
        super().__init__()
        self.attention = BertAttention(width, width)
        if index % 2 == 0:
            self.crossattention = BertAttention(width, source)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = BertOutput(hidden, width)
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output_query = BertOutput(hidden, width)

    def forward(self, queries: Tensor, image: Tensor) -> Tensor:
        x = self.attention(queries, queries)
        if hasattr(self, "crossattention"):
            x = self.crossattention(x, image)
        return self.output_query(F.gelu(self.intermediate_query["dense"](x)), x)


class LavisQFormer(nn.Module):
    """``Qformer`` of LAVIS, the query stream run; ``text`` puts the BERT embeddings back."""

    def __init__(self, width: int, hidden: int, layers: int, source: int, text: bool) -> None:
        super().__init__()
        embeddings = nn.Module()
        embeddings.LayerNorm = nn.LayerNorm(width, eps=BERT_EPS)
        embeddings.register_buffer("position_ids", torch.arange(24)[None])
        if text:
            embeddings.word_embeddings = nn.Embedding(30, width)
            embeddings.position_embeddings = nn.Embedding(24, width)
        encoder = nn.Module()
        encoder.layer = nn.ModuleList(BertLayer(width, hidden, source, i) for i in range(layers))
        self.bert = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder})

    def forward(self, queries: Tensor, image: Tensor) -> Tensor:
        x = self.bert["embeddings"].LayerNorm(queries)
        for layer in self.bert["encoder"].layer:
            x = layer(x, image)
        return x


class Reference(nn.Module):
    """The paper's reference model up to the prefix: (batch, 1, k, j, i) -> (batch, 3, LM width)."""

    def __init__(self, language_width: int, projection: str, *, text: bool = False) -> None:
        super().__init__()
        width, image = 2 * BERT_HEAD, 2 * HEAD
        self.visual_encoder = Eva3d()
        self.ln_vision = nn.LayerNorm(image, eps=LAVIS_EPS)
        self.Qformer = LavisQFormer(width, 40, 3, image, text)
        self.query_tokens = nn.Parameter(torch.empty(1, 3, width))
        self.vision_proj = nn.Linear(width, 8)
        self.text_proj = nn.Linear(width, 8)
        self.qa_proj = nn.Linear(width, 8)
        self.add_module(projection, nn.Linear(width, language_width))
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.projection = projection

    def query(self, volumes: Tensor) -> Tensor:
        image = self.ln_vision(self.visual_encoder(volumes))
        return self.Qformer(self.query_tokens.expand(len(image), -1, -1), image)

    def forward(self, volumes: Tensor) -> Tensor:
        return self._modules[self.projection](self.query(volumes))


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What LAVIS does to its tower: linear maps and 2D convolutions to float16, norms not."""
    return {
        name: tensor.half()
        if tensor.ndim in (2, 4) or (name.endswith(("proj.bias", "fc1.bias", "fc2.bias")))
        else tensor
        for name, tensor in state.items()
    }
