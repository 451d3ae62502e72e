"""The reference's computation, restated: what `Qybc/MedBLIP` does in a step and in an answer.

Written anew from a reading of the published repository, in plain torch round transformers' towers,
to have something to measure against; no code of theirs is in it. Restated as published:

- each step sends the volumes through a learned Conv3d and all vision blocks, attention written out
  as softmax(q k^T) v, with gradients through the frozen blocks to the Conv3d; then a LayerNorm;
- a BERT-like Q-Former with a feed-forward network for each of its two streams; record, and question
  with answer, go through its text stream one after the other, each padded to 100 tokens;
- both contrastive losses between the largest similarity over the queries and one-hot targets;
- the language model reads text padded to the longest, 32 image queries, and the padded answer; the
  whole text is in the loss, so logits over the vocabulary are computed at every position; its
  weights are frozen but it stays in training mode (dropout, where its configuration has any);
- AdamW of torch's defaults over all that learns, gradients clipped to norm 1;
- an answer scores each candidate by a forward pass of everything, the vision tower included.

Different from it, on purpose:

- word and position embeddings of the Q-Former are put back, learned, one row for each token of the
  language model: as published they are set to None and then called, so that no step runs;
- the similarities form the square matrix of Eq. 4; as published they are of pairs only;
- float32 on a CPU instead of mixed precision on a GPU; no printing of every sample;
- towers at the sizes of the benchmark: at the demo's size a DINOv2 and a SmolLM2 in place of
  EVA-CLIP ViT-g and BioMedLM.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, Blip2QFormerConfig, Blip2QFormerModel

from medblip.model.bases import new_language, new_vision
from medblip.model.losses import IGNORED
from medblip.recipe import Recipe
from step_sizes import Texts

TEXT_LENGTH = 100
SMOOTHING = 0.1
Padded = tuple[Tensor, Tensor]  # ids and mask (batch, length)


class ReferenceModel(nn.Module):
    """Random weights of the recipe's sizes.

    Args:
        learn_words: False keeps the Q-Former's word embeddings out of the optimizer.
    """

    def __init__(self, recipe: Recipe, learn_words: bool = True) -> None:
        super().__init__()
        section, q = recipe.model, recipe.model.qformer
        self.vision = new_vision(_config(section.vision_architecture))
        self.language = new_language(_config(section.language_architecture))
        for tower in (self.vision, self.language):
            tower.set_attn_implementation("eager")
            tower.requires_grad_(False)
        width = self.vision.config.hidden_size
        words = self.language.get_input_embeddings()
        patch, grid = section.volume_patch_size, section.volume_size // section.volume_patch_size
        self.patch_embedding = nn.Conv3d(1, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, grid**3 + 1, width))
        self.vision_norm = nn.LayerNorm(width)
        self.qformer = Blip2QFormerModel._from_config(
            Blip2QFormerConfig(
                **q.model_dump(exclude={"num_query_tokens"}),
                encoder_hidden_size=width,
                use_qformer_text_input=True,
            ),
            attn_implementation="eager",
        )
        self.queries = nn.Parameter(0.02 * torch.randn(1, q.num_query_tokens, q.hidden_size))
        self.words = nn.Embedding(words.num_embeddings, q.hidden_size)
        self.words.requires_grad_(learn_words)
        self.word_positions = nn.Embedding(512, q.hidden_size)
        self.image_map = nn.Linear(q.hidden_size, section.itc_hidden_size)
        self.record_map = nn.Linear(q.hidden_size, section.itc_hidden_size)
        self.answer_map = nn.Linear(q.hidden_size, section.itc_hidden_size)
        self.prefix_map = nn.Linear(q.hidden_size, words.embedding_dim)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(
        self, pixels: Tensor, record: Padded, asked: Padded, prompt: Padded, answer: Padded
    ) -> Tensor:
        """The training loss: both contrastive ones and the language model's."""
        queries = self.read_image(pixels)
        image = F.normalize(self.image_map(queries), dim=-1)
        loss: Tensor = self.language_loss(queries, prompt, answer)
        for text, head in ((record, self.record_map), (asked, self.answer_map)):
            first = self.read_text(*text)[:, 0]
            loss = loss + self.contrast(image, F.normalize(head(first), dim=-1))
        return loss

    def read_image(self, pixels: Tensor) -> Tensor:
        """``(batch, 1, D, H, W)`` -> queries ``(batch, 32, width)``."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches], 1)
        tokens = self.vision_norm(self._blocks(tokens + self.positions))
        queries = self.queries.expand(len(pixels), -1, -1)
        seen = torch.ones(tokens.shape[:2], dtype=torch.long)
        read: Tensor = self.qformer(
            queries, encoder_hidden_states=tokens, encoder_attention_mask=seen
        ).last_hidden_state
        return read

    def _blocks(self, tokens: Tensor) -> Tensor:
        encoder = self.vision.encoder
        name = "hidden_states" if self.vision.config.model_type == "dinov2" else "inputs_embeds"
        encoded: Tensor = encoder(**{name: tokens}).last_hidden_state
        return encoded

    def read_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        placed = self.words(ids) + self.word_positions(torch.arange(ids.shape[1]))
        read: Tensor = self.qformer(placed, query_length=0, attention_mask=mask).last_hidden_state
        return read

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        similarity = torch.einsum("iqd,td->itq", image, text).amax(-1) / self.temperature
        own = torch.arange(len(text))
        to_text = F.cross_entropy(similarity, own, label_smoothing=SMOOTHING)
        to_image = F.cross_entropy(similarity.T, own, label_smoothing=SMOOTHING)
        return (to_text + to_image) / 2

    def language_loss(self, queries: Tensor, prompt: Padded, answer: Padded) -> Tensor:
        """Cross-entropy at every position but the image's and the padding's."""
        logits, targets = self._language(queries, prompt, answer)
        return F.cross_entropy(
            logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED
        )

    def _language(self, queries: Tensor, prompt: Padded, answer: Padded) -> tuple[Tensor, Tensor]:
        words = self.language.get_input_embeddings()
        image = self.prefix_map(queries)
        seen = torch.ones(image.shape[:2], dtype=torch.long)
        logits = self.language(
            inputs_embeds=torch.cat([words(prompt[0]), image, words(answer[0])], 1),
            attention_mask=torch.cat([prompt[1], seen, answer[1]], 1),
            use_cache=False,
        ).logits
        blank = torch.full_like(seen, IGNORED)
        targets = torch.cat([_targets(prompt), blank, _targets(answer)], 1)
        return logits, targets

    @torch.no_grad()
    def score(self, pixels: Tensor, prompt: Padded, candidates: list[list[int]]) -> Tensor:
        """Log-probability ``(batch, candidates)``, everything computed anew for each."""
        scores = []
        for candidate in candidates:
            answer = torch.tensor(candidate).expand(len(pixels), -1)
            logits, _ = self._language(
                self.read_image(pixels), prompt, (answer, torch.ones_like(answer))
            )
            found = logits[:, -len(candidate) - 1 : -1].log_softmax(-1)
            scores.append(found.gather(-1, answer[..., None]).sum((1, 2)))
        return torch.stack(scores, 1)


def reference_inputs(texts: Texts) -> dict[str, Padded]:
    """The texts padded on the right as the reference pads them."""
    asked = [[*q, *a[:-1]] for q, a in zip(texts.questions, texts.answers, strict=True)]
    prompts = [[*r, *q] for r, q in zip(texts.records, texts.questions, strict=True)]
    return {
        "record": _pad(texts.records, TEXT_LENGTH),
        "asked": _pad(asked, TEXT_LENGTH),
        "prompt": _pad(prompts),
        "answer": _pad(texts.answers),
    }


def reference_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW of torch's defaults over all parameters, biases and norms without decay."""
    plain = ("bias", "LayerNorm.bias", "LayerNorm.weight")
    named = list(model.named_parameters())
    decayed = [p for n, p in named if not any(part in n for part in plain)]
    rest = [p for n, p in named if any(part in n for part in plain)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=2e-5)


def reference_step(
    model: ReferenceModel, optimizer: torch.optim.Optimizer, inputs: dict[str, Any]
) -> float:
    loss = model(**inputs)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _targets(text: Padded) -> Tensor:
    return text[0].masked_fill(text[1] == 0, IGNORED)


def _pad(rows: list[list[int]], length: int | None = None) -> Padded:
    rows = [row[:TEXT_LENGTH] for row in rows]
    longest = length or max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def _config(architecture: dict[str, Any] | None) -> Any:
    if architecture is None:
        raise SystemExit("this benchmark needs a recipe that states both architectures")
    values = dict(architecture)
    return AutoConfig.for_model(values.pop("model_type"), **values)
