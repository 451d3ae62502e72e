"""What the restated checks of transformers feed to the model."""

from __future__ import annotations

from typing import Any

import torch
from tiny import padded, prompt_rows, settings, text_config, vision_config, volumes
from torch import Tensor, nn

from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration

KINDS = ("llama", "gpt2", "t5")  # untied, tied, encoder-decoder
TOLERANCE = 2e-4  # float32, relative to the largest value


def config_of(language: str = "llama", **changed: Any) -> MedBlipConfig:
    """Sizes of the tiny model, not yet built."""
    return MedBlipConfig(
        vision_config=vision_config(), text_config=text_config(language), **settings(**changed)
    )


def new_model(language: str = "llama", **changed: Any) -> MedBlipForConditionalGeneration:
    """A model with random weights from its configuration alone, in eval mode."""
    torch.manual_seed(3)
    return MedBlipForConditionalGeneration(config_of(language, **changed)).eval()


def prompts(lengths: tuple[int, ...] = (9, 4, 6)) -> dict[str, Tensor]:
    """Prompts of several lengths with an image each, padded on the left."""
    return padded(prompt_rows(lengths)) | {"pixel_values": volumes(len(lengths))}


def inputs(language: str, rows: int = 3) -> dict[str, Tensor]:
    """Inputs of ``forward`` without labels."""
    given = prompts((9, 4, 6)[:rows])
    if language == "t5":
        given["decoder_input_ids"] = torch.arange(5 * rows).view(rows, 5) + 4
    return given


def assert_same_tensors(found: nn.Module, expected: nn.Module) -> None:
    """Parameters and every buffer, saved or not, to the bit."""
    for kind in ("named_parameters", "named_buffers"):
        mine, theirs = (dict(getattr(model, kind)()) for model in (found, expected))
        assert mine.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert torch.equal(mine[name], tensor), name
