"""A Llama-architecture GGUF file -> the folder that ``AutoModelForCausalLM`` loads.

transformers reads GGUF too, but keeps the quantised form in the config so that the model cannot be
saved again, and takes twice the time. The weights here are bit for bit what it dequantises to
(tests/model/test_pretrained_language.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from medblip.errors import InputError
from medblip.model.pretrained.converted import write_model
from medblip.model.pretrained.tokenizer_gguf import write_tokenizer

Array = np.ndarray[Any, np.dtype[np.float32]]

TOP_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_language(gguf: Path, folder: Path) -> None:
    """Write the language model and its tokenizer into ``folder``.

    The weights are kept as float32, 4 bytes each: Q4_1 and Q8_0 values are exact in it. In float16
    the log-probabilities of the embedded model move by up to 0.023, in bfloat16 by 0.12
    (benchmarks/check_embedded_weights.py).

    Raises:
        InputError: not GGUF, another architecture, a field or weight is missing or unknown.
    """
    reader, fields = _read(gguf)
    names = {tensor.name for tensor in reader.tensors}
    config = _config(fields, gguf, tied="output.weight" not in names)
    key_heads = fields["llama.attention.head_count_kv"]
    weights = _weights(reader, config.num_attention_heads, key_heads, gguf)
    write_model(folder, LlamaForCausalLM, config, weights, gguf)
    GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    ).save_pretrained(folder)
    write_tokenizer(fields, folder, gguf)


def _read(gguf: Path) -> tuple[GGUFReader, dict[str, Any]]:
    """The file's tensors, mapped into memory, and its metadata by name."""
    try:
        reader = GGUFReader(gguf)
        return reader, {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, TypeError) as error:
        # What the reader runs into depends on where the file is cut or garbled.
        raise InputError(
            gguf.name,
            f"cannot be read as GGUF ({error})",
            "get the wheel again",
            code="gguf-unreadable",
        ) from error


def _config(fields: dict[str, Any], gguf: Path, *, tied: bool) -> LlamaConfig:
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise InputError(
            gguf.name,
            f"architecture is {architecture!r}, expected 'llama'",
            "use a Llama-architecture GGUF file",
            code="gguf-architecture",
        )
    try:
        heads = fields["llama.attention.head_count"]
        width = fields["llama.embedding_length"]
        return LlamaConfig(
            vocab_size=len(fields["tokenizer.ggml.tokens"]),
            hidden_size=width,
            intermediate_size=fields["llama.feed_forward_length"],
            num_hidden_layers=fields["llama.block_count"],
            num_attention_heads=heads,
            num_key_value_heads=fields["llama.attention.head_count_kv"],
            head_dim=width // heads,
            max_position_embeddings=fields["llama.context_length"],
            # Stored as float32; the shortest decimal that means the same is the published 1e-05.
            rms_norm_eps=float(str(np.float32(fields["llama.attention.layer_norm_rms_epsilon"]))),
            rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
            tie_word_embeddings=tied,
            bos_token_id=fields["tokenizer.ggml.bos_token_id"],
            eos_token_id=fields["tokenizer.ggml.eos_token_id"],
            pad_token_id=fields["tokenizer.ggml.padding_token_id"],
        )
    except KeyError as error:
        raise InputError(
            gguf.name, f"field {error} is missing", "get the file again", code="gguf-field"
        ) from None


def _weights(reader: GGUFReader, heads: int, key_heads: int, gguf: Path) -> dict[str, Array]:
    weights: dict[str, Array] = {}
    unknown: list[str] = []
    for tensor in reader.tensors:
        name = _published_name(tensor.name)
        if name is None:
            unknown.append(tensor.name)
            continue
        value = dequantize(tensor.data, tensor.tensor_type)
        if name.endswith("q_proj.weight"):
            value = _undo_rotary_order(value, heads)
        elif name.endswith("k_proj.weight"):
            value = _undo_rotary_order(value, key_heads)
        weights[name] = np.ascontiguousarray(value, dtype=np.float32)
    if unknown:
        raise InputError(
            gguf.name,
            f"weights of unknown meaning: {', '.join(unknown)}",
            "use a plain Llama-architecture GGUF file",
            code="weights-incomplete",
        )
    return weights


def _published_name(name: str) -> str | None:
    """The checkpoint's name of ``blk.3.attn_q.weight`` and the like; None where unknown."""
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in LAYER_NAMES:
            return f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"
        case [part, "weight"] if part in TOP_NAMES:
            return f"{TOP_NAMES[part]}.weight"
    return None


def _undo_rotary_order(weight: Array, heads: int) -> Array:
    """Rows of a query or key matrix (heads * head_dim, width) back in transformers' order.

    llama.cpp interleaves the two halves that the rotary embedding turns into each other.
    """
    pairs = weight.reshape(heads, -1, 2, weight.shape[-1])  # (heads, head_dim / 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(weight.shape)
