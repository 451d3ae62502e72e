"""A tiny language model in the real GGUF format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig

Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]

TINY_LLAMA = LlamaConfig(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    tie_word_embeddings=True,
)
MERGES = ["h e", "he l", "hel l", "hell o", "Ġ w", "Ġ Ġ"]


def tiny_vocabulary() -> list[str]:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return [*special, *sorted(ByteLevel.alphabet()), *(m.replace(" ", "") for m in MERGES)]


def llama_weights(config: LlamaConfig, rng: np.random.Generator) -> Weights:
    """Random weights under llama.cpp's names, in transformers' row order."""
    width, hidden = config.hidden_size, config.intermediate_size
    keys = width // config.num_attention_heads * config.num_key_value_heads
    shapes = {"token_embd": (len(tiny_vocabulary()), width), "output_norm": (width,)}
    for layer in range(config.num_hidden_layers):
        blk = f"blk.{layer}."
        shapes |= {f"{blk}attn_norm": (width,), f"{blk}ffn_norm": (width,)}
        shapes |= {f"{blk}attn_q": (width, width), f"{blk}attn_output": (width, width)}
        shapes |= {f"{blk}attn_k": (keys, width), f"{blk}attn_v": (keys, width)}
        shapes |= {f"{blk}ffn_gate": (hidden, width), f"{blk}ffn_up": (hidden, width)}
        shapes |= {f"{blk}ffn_down": (width, hidden)}
    return {
        f"{name}.weight": rng.normal(0.0, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def llama_cpp_order(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """What llama.cpp's converter does to query and key matrices: halves of a head interleaved."""
    halves = rows.reshape(heads, 2, -1, rows.shape[-1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(
    path: Path, weights: Weights, config: LlamaConfig = TINY_LLAMA, *, quantised: bool = True
) -> Path:
    """Write a Llama GGUF file with a byte-level tokenizer; matrices as Q4_1, embeddings as Q8_0."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(len(tiny_vocabulary()))
    _add_tokenizer(writer)
    for name, value in weights.items():
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        part = name.split(".")[-2]
        stored = llama_cpp_order(value, heads[part]) if part in heads else value
        kind = gguf.GGMLQuantizationType.F32
        if quantised and value.ndim == 2:
            is_embedding = name == "token_embd.weight"
            kind = gguf.GGMLQuantizationType.Q8_0 if is_embedding else kind.Q4_1
        writer.add_tensor(name, quantize(np.ascontiguousarray(stored), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens = tiny_vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(MERGES)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
