"""Tiny models in the real formats: two layers, 32 wide, a byte-level tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BioGptConfig,
    Blip2VisionConfig,
    Dinov2Config,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
    T5Config,
)

from medblip.model import (
    MedBlipConfig,
    MedBlipForConditionalGeneration,
    MedBlipImageProcessor,
    MedBlipProcessor,
)
from medblip.model.base_identity import describe_base
from medblip.model.bases import load_language, load_vision
from medblip.model.prompt import pad_left
from medblip.model.vision import tower_of
from medblip.volumes import Volume

WIDTH, HEADS, LAYERS = 32, 4, 2
IMAGE_SIZE, PATCH = 16, 8  # of the 2D towers
QUERIES, SIZE = 3, 16  # prefix length, and voxels along an edge: 2^3 patches and CLS
PAD, END, START, TURN = range(4)
SPECIAL = ["<pad>", "</s>", "<s>", "<|im_end|>"]
CAUSAL = ("llama", "gpt2", "biogpt", "opt")
LANGUAGES = (*CAUSAL, "t5")
VISIONS = ("dinov2", "blip_2_vision_model", "siglip_vision_model")
QFORMER = {
    "num_query_tokens": QUERIES,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_text_positions": 16,
    "initializer_range": 0.3,
}
LORA = {"r": 2, "lora_alpha": 4}
# Large weights, so that what a test changes is seen in the output.
_BERT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "initializer_range": 0.3,
}
_TOKENS = {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": START}


def vocabulary() -> list[str]:
    return [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "Ġa", "Ġd"]


def tokenizer(
    start: Sequence[str] = (), end: Sequence[str] = (), **special: str | None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that puts ``start`` and ``end`` round a text."""
    ids = {token: i for i, token in enumerate(vocabulary())}
    bpe = Tokenizer(BPE(ids, [("h", "e"), ("Ġ", "a"), ("Ġ", "d")]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(SPECIAL)
    if start or end:
        bpe.post_processor = processors.TemplateProcessing(
            single=[*start, "$A", *end], special_tokens=[(t, ids[t]) for t in (*start, *end)]
        )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"} | special
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        additional_special_tokens=["<|im_end|>"],
        **{name: token for name, token in names.items() if token is not None},
    )


def vision_config(kind: str = "dinov2") -> PreTrainedConfig:
    square = {"image_size": IMAGE_SIZE, "patch_size": PATCH}
    match kind:
        case "dinov2":
            return Dinov2Config(**_BERT, **square, mlp_ratio=2)
        case "blip_2_vision_model":
            return Blip2VisionConfig(**_BERT, **square, intermediate_size=48)
        case _:
            return SiglipVisionConfig(**_BERT, **square, intermediate_size=48)


def text_config(kind: str = "llama") -> PreTrainedConfig:
    size = {"vocab_size": len(vocabulary()), **_TOKENS}
    bert = {**_BERT, **size, "max_position_embeddings": 128}
    match kind:
        case "llama":
            return LlamaConfig(**bert, intermediate_size=48, num_key_value_heads=2)
        case "gpt2":
            gpt = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 128}
            return GPT2Config(**gpt, **size, initializer_range=0.3)
        case "biogpt":
            return BioGptConfig(**bert, intermediate_size=48)
        case "opt":
            return OPTConfig(**bert, ffn_dim=48, word_embed_proj_dim=WIDTH, init_std=0.3)
        case _:
            layers = {"num_layers": LAYERS, "num_decoder_layers": LAYERS, "num_heads": HEADS}
            t5 = {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "decoder_start_token_id": PAD}
            return T5Config(**t5, **layers, **size, initializer_factor=3.0)


def vision_tower(kind: str = "dinov2", seed: int = 1) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = vision_config(kind)
    return tower_of(config).model_class(config).eval()


def language_tower(kind: str = "llama", seed: int = 2) -> PreTrainedModel:
    torch.manual_seed(seed)
    auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    return auto.from_config(text_config(kind)).eval()


def settings(**changed: Any) -> dict[str, Any]:
    """Sizes of :class:`MedBlipConfig` but for the towers."""
    sizes = {"volume_size": SIZE, "volume_patch_size": PATCH, "itc_hidden_size": 8}
    return {"qformer_config": QFORMER, "lora": LORA, "initializer_range": 0.3, **sizes, **changed}


def build(
    language: str = "llama", vision: str = "dinov2", **changed: Any
) -> MedBlipForConditionalGeneration:
    """A model from components, in eval mode, its LoRA away from zero."""
    towers = vision_tower(vision), language_tower(language)
    config = MedBlipConfig(
        vision_config=towers[0].config, text_config=towers[1].config, **settings(**changed)
    )
    torch.manual_seed(3)
    return stirred(MedBlipForConditionalGeneration.from_components(config, *towers)).eval()


def stirred(model: MedBlipForConditionalGeneration) -> MedBlipForConditionalGeneration:
    """LoRA starts as an exact zero, and so do biases; no test should depend on that."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or (parameter.requires_grad and name.endswith("bias")):
                parameter.normal_(std=0.3)
    return model


def save_bases(folder: Path, language: str = "llama") -> dict[str, dict[str, Any]]:
    """Both towers on disk, and what a configuration records of them."""
    recorded = {}
    for role, tower in (("vision", vision_tower()), ("language", language_tower(language))):
        tower.save_pretrained(folder / role)
        recorded[f"{role}_base"] = describe_base(str(folder / role))
    return recorded


def based_model(
    folder: Path,
    language: str = "llama",
    roles: tuple[str, ...] = ("vision", "language"),
    **changed: Any,
) -> MedBlipForConditionalGeneration:
    """A model round towers that lie in ``folder``; only ``roles`` are recorded as bases."""
    recorded = save_bases(folder, language)
    towers = load_vision(folder / "vision"), load_language(folder / "language")
    config = MedBlipConfig(
        vision_config=towers[0].config,
        text_config=towers[1].config,
        **{f"{role}_base": recorded[f"{role}_base"] for role in roles},
        **settings(**changed),
    )
    torch.manual_seed(3)
    return stirred(MedBlipForConditionalGeneration.from_components(config, *towers)).eval()


def saved_checkpoint(root: Path) -> Path:
    """The folder of a checkpoint with its processor, whose towers lie beside it."""
    model = based_model(root / "bases")
    model.save_pretrained(root / "model")
    images = MedBlipImageProcessor({"size": SIZE})
    MedBlipProcessor.for_model(model.config, images, tokenizer()).save_pretrained(root / "model")
    return root / "model"


def volumes(count: int, seed: int = 0) -> Tensor:
    """``(count, 1, 16, 16, 16)`` in [0, 1]; row i has i patches of background."""
    rng = np.random.default_rng(seed)
    cubes = rng.uniform(0.1, 1.0, (count, 1, SIZE, SIZE, SIZE)).astype(np.float32)
    for row, cube in enumerate(cubes):
        for patch in np.ndindex(2, 2, 2):
            if np.ravel_multi_index(patch, (2, 2, 2)) < row:
                cube[0][tuple(slice(p * PATCH, (p + 1) * PATCH) for p in patch)] = 0
    return torch.from_numpy(cubes)


def prompt_rows(lengths: Sequence[int], seed: int = 0, image: bool = True) -> list[list[int]]:
    """Prompts of so many text tokens after the prefix."""
    rng = np.random.default_rng(seed)
    size = len(vocabulary())
    prefix = [size] * QUERIES if image else []
    return [[*prefix, *rng.integers(len(SPECIAL), size, n).tolist()] for n in lengths]


def padded(rows: Sequence[Sequence[int]], value: int = PAD) -> dict[str, Tensor]:
    ids, mask = pad_left(rows, value)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def training_batch(model: MedBlipForConditionalGeneration, rows: int = 3) -> dict[str, Tensor]:
    """Every input of ``forward``: images, prompts of several lengths, answers, contrast texts."""
    answers = prompt_rows(range(2, 2 + rows), seed=1, image=False)
    prompts = prompt_rows([4 + 2 * (i % 2) for i in range(rows)])
    texts = {
        f"{name}_{key}": value
        for name, seed in (("record", 2), ("answer", 3))
        for key, value in zip(
            ("ids", "mask"),
            padded(prompt_rows(range(3, 3 + rows), seed, image=False)).values(),
            strict=True,
        )
    }
    return {"pixel_values": volumes(rows), **texts, **with_answers(model, prompts, answers)}


def with_answers(
    model: MedBlipForConditionalGeneration,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
) -> dict[str, Tensor]:
    """Prompts and labels as each kind of language model wants them."""
    if model.config.is_encoder_decoder:
        reversed_labels = padded([answer[::-1] for answer in answers], -100)["input_ids"]
        return padded(prompts) | {"labels": reversed_labels.flip(1)}
    batch = padded([[*p, *a] for p, a in zip(prompts, answers, strict=True)])
    labels = torch.full_like(batch["input_ids"], -100)
    for row, answer in enumerate(answers):
        labels[row, -len(answer) :] = torch.tensor(answer)
    return batch | {"labels": labels}


def largest_difference(a: Tensor, b: Tensor) -> float:
    return float((a.detach().double() - b.detach().double()).abs().max())


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference in units of the largest expected value."""
    return largest_difference(found, expected) / float(expected.detach().abs().max())


def gradients(loss: Callable[[], Tensor], model: torch.nn.Module) -> dict[str, Tensor]:
    """Gradient of every parameter that got one."""
    model.zero_grad(set_to_none=True)
    loss().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def head_scan(seed: int = 0) -> Volume:
    """A round head with a darker middle, 4 mm voxels, RAS."""
    grid = np.indices((40, 48, 44)).astype(np.float64)
    centre = np.array([19.5, 23.5, 21.5]).reshape(3, 1, 1, 1)
    radius = np.sqrt((((grid - centre) / [[[[16]]], [[[20]]], [[[17]]]]) ** 2).sum(0))
    values = np.where(radius < 1, 100.0 - 60 * (radius < 0.3), 0.0)
    values += np.random.default_rng(seed).uniform(0, 5, values.shape)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [-78, -94, -86]
    return Volume(values.astype(np.float32), affine, "head.nii.gz")
