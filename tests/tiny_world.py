"""A whole small world on disk: two tiny pretrained towers and a brain template, in real formats."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

VOCABULARY = 300


def write_vision(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder


def write_language(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=257,
        eos_token_id=258,
        pad_token_id=258,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the special tokens of a chat model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.add_special_tokens(
        {"unk_token": "<|endoftext|>", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    )
    fast.pad_token = "<|im_end|>"
    return fast


def write_template(folder: Path) -> Path:
    """An ellipsoid brain at 1 mm with grey rim, ventricle and two hippocampi, and its atlas."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, affine = (130, 160, 130), np.eye(4)
    affine[:3, 3] = (-65, -95, -55)
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    x, y, z = i + affine[0, 3], j + affine[1, 3], k + affine[2, 3]

    def ellipsoid(centre: tuple[int, int, int], radii: tuple[int, int, int]) -> np.ndarray:
        return (
            sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)) <= 1.0
        )

    brain = ellipsoid((0, -18, 8), (58, 72, 56))
    white = ellipsoid((0, -18, 8), (48, 62, 46))
    ventricle = ellipsoid((0, -18, 12), (10, 26, 10))
    left, right = ellipsoid((-26, -20, -16), (7, 16, 7)), ellipsoid((26, -20, -16), (7, 16, 7))
    t1 = np.where(white, 220, np.where(brain, 150, 0))
    t1 = np.where(ventricle, 60, np.where(left | right, 150, t1)).astype(np.uint8)
    gray = np.where(brain & ~white | left | right, 255, 0).astype(np.uint8)
    labels = np.where(ventricle, 51, np.where(left, 48, np.where(right, 47, 0))).astype(np.uint8)
    wm = np.where(white & ~ventricle, 255, 0).astype(np.uint8)
    for name, array in (("t1", t1), ("gm", gray), ("wm", wm), ("atlas", labels)):
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    return folder


def learned_bytes(run: Path) -> dict[str, bytes]:
    """Every learned tensor of a finished run, bit for bit; a header may name them in any order."""
    model = run / "model"
    files = (model / "model.safetensors", model / "adapter" / "adapter_model.safetensors")
    return {
        f"{file.name}:{name}": tensor.numpy().tobytes()
        for file in files
        for name, tensor in load_file(file).items()
    }
