"""Towers of two layers with random weights, each a folder in the format of a real checkpoint."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    Dinov2Config,
    GPT2Config,
    GPT2Tokenizer,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    T5Config,
    T5Tokenizer,
)

from medblip.model.bases import new_language, new_vision

VISION = "tiny-vision"
WIDTH, LAYERS, HEADS = 32, 2, 2
LONGEST = 1024  # tokens
_PRINTABLE = [chr(code) for code in range(ord("!"), ord("~") + 1)]
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a blank


def write_tower(folder: Path, name: str) -> Path:
    """Write a tower, whole or not at all; one that is there is left alone.

    Args:
        folder: to be made; gets ``config.json``, ``model.safetensors`` and, for a language model,
            its tokenizer.
        name: key of `TOWERS`.

    Returns:
        ``folder``.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        made = Path(temporary) / name
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            TOWERS[name](made)
        try:
            made.replace(folder)
        except OSError:  # another process was first, with the same bytes
            shutil.rmtree(made)
    return folder


def _vision(folder: Path) -> None:
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=28,
        patch_size=14,
    )
    new_vision(config).save_pretrained(folder)


def _t5(folder: Path) -> None:
    words = [(_SPACE, -2.0), *((character, -4.0) for character in _PRINTABLE)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = T5Tokenizer(vocab=[*special, *words], extra_ids=0)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    ids["decoder_start_token_id"] = tokenizer.pad_token_id
    flan: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=2 * WIDTH,
        num_layers=LAYERS,
        num_decoder_layers=LAYERS,
        num_heads=HEADS,
        **flan,
        **ids,
    )
    _write(folder, config, tokenizer)


def _gpt2(folder: Path) -> None:
    tokenizer = _byte_tokenizer("<|endoftext|>")
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=LONGEST,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    _write(folder, config, tokenizer)


def _llama(folder: Path) -> None:
    tokenizer = _byte_tokenizer("<|im_end|>", "<|im_start|>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    _write(folder, config, tokenizer)


def _byte_tokenizer(end: str, start: str | None = None) -> GPT2Tokenizer:
    """One token a byte: the GPT-2 tokenizer without a merge."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = dict.fromkeys((end, start or end))
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    return GPT2Tokenizer(
        vocab=vocabulary, merges=[], unk_token=end, bos_token=start or end, eos_token=end
    )


def _write(folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    new_language(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


TOWERS: Mapping[str, Callable[[Path], None]] = {
    VISION: _vision,
    "tiny-t5": _t5,
    "tiny-gpt2": _gpt2,
    "tiny-llama": _llama,
}

__all__ = ["TOWERS", "VISION", "write_tower"]
