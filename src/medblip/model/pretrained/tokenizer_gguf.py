"""The byte-level BPE tokenizer inside a GGUF file -> the files that ``AutoTokenizer`` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from medblip.errors import InputError

CONTROL_TOKEN = 3  # GGUF's token type for special tokens


def write_tokenizer(fields: dict[str, Any], folder: Path, gguf: Path) -> None:
    """Write ``tokenizer.json``, its config and the chat template into ``folder``.

    Args:
        fields: the GGUF file's metadata by name.
        folder: an existing folder.
        gguf: the file, for messages.

    Raises:
        InputError: the file holds another kind of tokenizer.
    """
    kind = (fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise InputError(
            gguf.name,
            f"tokenizer is {kind[0]!r} with splitting rule {kind[1]!r}, expected 'gpt2', 'smollm'",
            "use a SmolLM GGUF file",
            code="gguf-tokenizer",
        )
    tokens = fields["tokenizer.ggml.tokens"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_backend(tokens, fields),
        bos_token=tokens[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        pad_token=tokens[fields["tokenizer.ggml.padding_token_id"]],
        unk_token=tokens[fields["tokenizer.ggml.unknown_token_id"]],
        model_max_length=fields["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = fields.get("tokenizer.chat_template")
    tokenizer.save_pretrained(folder)


def _backend(tokens: list[str], fields: dict[str, Any]) -> Tokenizer:
    merges = [tuple(pair.split(" ", 1)) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    # Every digit on its own is what the model was trained with. transformers' own GGUF reader
    # leaves this out: "  12" then becomes other tokens than the published tokenizer's.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind == CONTROL_TOKEN
        ]
    )
    return tokenizer
