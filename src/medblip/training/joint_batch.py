"""One optimizer step in several pieces, with the losses of its batch as a whole.

The pieces are micro-batches in turn, processes side by side, or both. An answer token weighs the
same wherever it lies, and each image is contrasted with the texts of all pieces. For the latter
every piece passes twice: first without gradients, for its features alone; the joint loss of all of
them gives the gradient with respect to each piece's features, which its second pass goes on with
(Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021). A
process that takes its share at once needs no first pass: its features are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from medblip.model.losses import IGNORED, at_least_float32, gather_parts
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.output import MedBlipOutput
from medblip.training.agreement import total

Batch = dict[str, Tensor]
Features = tuple[Tensor, ...]  # temperature, images, and each kind of text: as the model gives them
KINDS = ("record", "answer")
ADDED_UP = ("itc_choices", "language")  # each piece has its share; the others are of the whole


@dataclass
class JointBatch:
    """The batch of one optimizer step.

    Attributes:
        pieces: this process's micro-batches.
        tokens, asked, pairs: answer tokens, questions whose choices are contrasted, and images
            with texts, of the whole batch.
        losses: contrastive losses of the whole batch by name, once they are known.
        gradients: of the weighted contrastive losses, for the features of each piece.
    """

    model: MedBlipForConditionalGeneration
    processes: int
    pieces: Sequence[Batch]
    tokens: int
    asked: int
    pairs: int
    losses: dict[str, Tensor] = field(default_factory=dict)
    gradients: list[Features] = field(default_factory=list)

    @classmethod
    def of(
        cls, model: MedBlipForConditionalGeneration, processes: int, pieces: Sequence[Batch]
    ) -> JointBatch:
        """Of this process's micro-batches; every process must call it."""
        tokens, asked, pairs = total(
            [
                sum(_answer_tokens(piece) for piece in pieces),
                sum(len(piece.get("choice_right", ())) for piece in pieces),
                sum(len(piece.get("contrast_rows", ())) for piece in pieces),
            ]
        )
        return cls(model, processes, pieces, int(tokens), int(asked), int(pairs))

    @property
    def contrasts(self) -> bool:
        """Whether the pieces hold texts to contrast."""
        return "contrast_rows" in self.pieces[0]

    def loss(self, out: MedBlipOutput, place: int) -> Tensor:
        """What piece ``place`` goes backward from; not the loss itself.

        Its gradients, summed over the pieces of each process and averaged over the processes, are
        those of the whole batch.
        """
        weights = self.model.config.loss_weights
        terms = [weights[n] * x for n, x in self.shares(out, place).items() if weights[n] > 0]
        if out.contrast_features is not None:
            if not self.gradients:
                self.contrast([out.contrast_features])
            pairs = zip(out.contrast_features, self.gradients[place], strict=True)
            terms += [(feature * gradient).sum() for feature, gradient in pairs]
        return self.processes * torch.stack(terms).sum()

    def shares(self, out: MedBlipOutput, place: int) -> dict[str, Tensor]:
        """What a piece adds to the whole batch's means over answer tokens and over questions."""
        piece, shares = self.pieces[place], {}
        if out.language is not None:
            shares["language"] = out.language * (_answer_tokens(piece) / self.tokens)
        if out.itc_choices is not None:
            asked = len(piece["choice_right"])
            shares["itc_choices"] = out.itc_choices * (asked / max(self.asked, 1))
        return shares

    def parts(self, out: MedBlipOutput, place: int) -> dict[str, Tensor]:
        """Losses by part: those between images of the whole batch, of the others a share."""
        return {**self.losses, **self.shares(out, place)}

    def value(self, parts: dict[str, Tensor]) -> Tensor:
        """What to report of a piece; averaged over processes and summed over pieces, the loss."""
        weights = self.model.config.loss_weights
        shares = dict.fromkeys(ADDED_UP, float(self.processes))
        whole = 1.0 / len(self.pieces)
        terms = [weights[n] * shares.get(n, whole) * x.detach() for n, x in parts.items()]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def contrast(self, features: Sequence[Features]) -> None:
        """Find the contrastive losses and their gradients; every process must call it.

        Args:
            features: of each piece, without gradients.
        """
        if self.pairs < 2:
            self.gradients = [tuple(torch.zeros_like(x) for x in piece) for piece in features]
            return
        rows, place = gather_parts(torch.cat([_packed(piece) for piece in features]))
        everywhere = torch.cat(rows).requires_grad_()
        temperature = features[0][0].detach().clone().requires_grad_()
        self.losses = self._losses(everywhere, temperature, features[0])
        weights = self.model.config.loss_weights
        weighted = torch.stack([weights[name] * loss for name, loss in self.losses.items()]).sum()
        slope, heat = torch.autograd.grad(weighted, (everywhere, temperature))
        counts = [len(piece[1]) for piece in features]
        own = slope.split([len(part) for part in rows])[place].split(counts)
        # The temperature's gradient is shared out with the rows: any shares that add up to 1 do.
        self.gradients = [
            (heat * (len(part) / self.pairs), *_unpacked(part, features[0])) for part in own
        ]

    def _losses(self, everywhere: Tensor, temperature: Tensor, like: Features) -> dict[str, Tensor]:
        image, *texts = _unpacked(everywhere, like)
        kinds = [kind for kind in KINDS if f"{kind}_ids" in self.pieces[0]]
        losses = {}
        for kind, text in zip(kinds, texts, strict=True):
            ids = torch.cat(gather_parts(self._words(kind).to(text.device))[0])
            losses[f"itc_{kind}"] = self.model.contrast_loss(image, text, temperature, ids, ids > 0)
        return losses

    def _words(self, kind: str) -> Tensor:
        """Tokens of all pieces' texts, counted from 1, and 0 where there is none."""
        words = [(p[f"{kind}_ids"] + 1) * p[f"{kind}_mask"] for p in self.pieces]
        longest = max(x.shape[1] for x in words)
        return torch.cat([F.pad(x, [longest - x.shape[1], 0]) for x in words])


def _answer_tokens(piece: Batch) -> int:
    return int((piece["labels"] != IGNORED).sum()) if "labels" in piece else 0


def _packed(features: Features) -> Tensor:
    """Images' and texts' features side by side, so that they are gathered at once."""
    _, image, *texts = features
    return at_least_float32(torch.cat([image.flatten(1), *texts], dim=1).detach())


def _unpacked(rows: Tensor, like: Features) -> list[Tensor]:
    _, image, *texts = like
    widths = [image.shape[1] * image.shape[2], *(text.shape[1] for text in texts)]
    parts = rows.split(widths, dim=1)
    return [parts[0].unflatten(1, image.shape[1:]), *parts[1:]]
