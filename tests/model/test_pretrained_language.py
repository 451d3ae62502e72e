"""The GGUF conversion against transformers' own reading of the same file, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from sample_gguf import MERGES, TINY_LLAMA, Weights, llama_weights, tiny_vocabulary, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from medblip.errors import InputError
from medblip.model.pretrained.language_gguf import convert_language

TOLERANCE = 1e-5  # float32 logits of a few units


@pytest.fixture
def weights() -> Weights:
    return llama_weights(TINY_LLAMA, np.random.default_rng(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "language").mkdir()
    return tmp_path / "language"


@pytest.fixture
def converted(tmp_path: Path, weights: Weights, folder: Path) -> Path:
    convert_language(write_gguf(tmp_path / "model.gguf", weights), folder)
    return folder


def test_quantised_weights_equal_what_transformers_dequantises(
    tmp_path: Path, converted: Path
) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    ).state_dict()
    ours = AutoModelForCausalLM.from_pretrained(converted).state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], value), name  # bit for bit


def test_unquantised_model_gives_the_logits_it_had(
    tmp_path: Path, weights: Weights, folder: Path
) -> None:
    """Against a model filled by hand: independent of anyone's reading of the row order."""
    convert_language(write_gguf(tmp_path / "model.gguf", weights, quantised=False), folder)
    original = _fill_by_hand(weights)
    tokens = torch.tensor([[5, 17, 200, 3, 90, 41, 260]])
    with torch.no_grad():
        expected = original(tokens).logits
        logits = AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits
    difference = (logits - expected).abs().max().item()
    assert difference < TOLERANCE, f"largest difference {difference}"
    assert expected.abs().max() > 1.0


def _fill_by_hand(weights: Weights) -> LlamaForCausalLM:
    config = LlamaConfig.from_dict(TINY_LLAMA.to_dict() | {"vocab_size": len(tiny_vocabulary())})
    model = LlamaForCausalLM(config).eval()
    value = {name: torch.from_numpy(array) for name, array in weights.items()}
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(value["token_embd.weight"])
        model.model.norm.weight.copy_(value["output_norm.weight"])
        for index, layer in enumerate(model.model.layers):
            at = f"blk.{index}."
            layer.input_layernorm.weight.copy_(value[f"{at}attn_norm.weight"])
            layer.self_attn.q_proj.weight.copy_(value[f"{at}attn_q.weight"])
            layer.self_attn.k_proj.weight.copy_(value[f"{at}attn_k.weight"])
            layer.self_attn.v_proj.weight.copy_(value[f"{at}attn_v.weight"])
            layer.self_attn.o_proj.weight.copy_(value[f"{at}attn_output.weight"])
            layer.post_attention_layernorm.weight.copy_(value[f"{at}ffn_norm.weight"])
            layer.mlp.gate_proj.weight.copy_(value[f"{at}ffn_gate.weight"])
            layer.mlp.up_proj.weight.copy_(value[f"{at}ffn_up.weight"])
            layer.mlp.down_proj.weight.copy_(value[f"{at}ffn_down.weight"])
    return model


def test_the_config_says_nothing_of_quantisation(converted: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(converted)
    assert getattr(model.config, "quantization_config", None) is None
    assert model.config.rms_norm_eps == 1e-5
    assert model.config.rope_parameters["rope_theta"] == 100000.0
    assert model.config.tie_word_embeddings
    assert model.generation_config.eos_token_id == 2
    assert model.generation_config.pad_token_id == 2
    model.save_pretrained(tmp_path / "again")  # raises where the config still is quantised


def test_tokenizer_comes_along(converted: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted)
    text = "hello  world, été\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.tokenize("hello w") == ["hello", "Ġw"]
    assert tokenizer("<|im_start|>a").input_ids[0] == 1
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.model_max_length == TINY_LLAMA.max_position_embeddings
    assert tokenizer.apply_chat_template([{"content": "hi"}], tokenize=False) == "hi"


def test_each_digit_is_split_off_before_merging(converted: Path) -> None:
    # Two spaces are one token; a space taken along by the digit would leave two single ones.
    assert "Ġ Ġ" in MERGES
    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert tokenizer.tokenize("  12") == ["ĠĠ", "1", "2"]


def test_tokens_equal_transformers_reading_elsewhere(tmp_path: Path, converted: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    ours = AutoTokenizer.from_pretrained(converted)
    for text in ("hello world", "a\n\nb", "MMSE 27 of 30, CDR 0.5", "<|im_start|>hell<|im_end|>"):
        assert ours(text).input_ids == theirs(text).input_ids, text
    assert ours.get_vocab() == theirs.get_vocab()


def test_a_missing_weight_is_an_error(tmp_path: Path, weights: Weights, folder: Path) -> None:
    del weights["blk.1.ffn_up.weight"]
    with pytest.raises(InputError, match=r"missing: model\.layers\.1\.mlp\.up_proj\.weight"):
        convert_language(write_gguf(tmp_path / "model.gguf", weights), folder)


def test_a_weight_of_unknown_meaning_is_an_error(
    tmp_path: Path, weights: Weights, folder: Path
) -> None:
    weights["blk.0.attn_output.bias"] = np.ones(64, np.float32)
    weights["rope_freqs.weight"] = np.ones(8, np.float32)
    with pytest.raises(
        InputError, match=r"blk\.0\.attn_output\.bias, rope_freqs\.weight"
    ) as caught:
        convert_language(write_gguf(tmp_path / "model.gguf", weights), folder)
    assert caught.value.code == "weights-incomplete"


def test_nan_is_refused(tmp_path: Path, weights: Weights, folder: Path) -> None:
    weights["output_norm.weight"][3] = np.inf
    with pytest.raises(InputError, match=r"NaN or infinity: model\.norm\.weight"):
        convert_language(write_gguf(tmp_path / "model.gguf", weights), folder)


def test_another_architecture_is_refused(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match="architecture is 'gpt2', expected 'llama'"):
        convert_language(path, folder)


@pytest.mark.parametrize("kept", [0, 3, 40, 2000])
def test_a_cut_file_is_refused(tmp_path: Path, weights: Weights, folder: Path, kept: int) -> None:
    path = write_gguf(tmp_path / "model.gguf", weights)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model\.gguf: cannot be read as GGUF"):
        convert_language(path, folder)
