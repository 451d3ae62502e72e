"""BLIP-2 checkpoints of transformers: their tower, their query stream, what fits of texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from published import randomised
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Model,
    PreTrainedModel,
)

from medblip.errors import InputError
from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration, MedQFormerConfig
from medblip.model.bases import load_vision
from medblip.model.conversion import convert_blip2, load_qformer_init
from medblip.model.conversion.blip2 import TEXT_STREAM
from model.tiny import language_tower, largest_difference, relative_difference, text_config

TOLERANCE = 1e-5  # float32, two layers, relative to the largest value
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
CLASSES = (Blip2ForConditionalGeneration, Blip2Model, Blip2ForImageTextRetrieval)
TEXT_POSITIONS = 16


def blip2(model_class: type[PreTrainedModel], language: str = "opt") -> PreTrainedModel:
    config = Blip2Config(
        vision_config={**SIZES, "image_size": 16, "patch_size": 8},
        qformer_config={
            **SIZES,
            "vocab_size": 30,
            "max_position_embeddings": TEXT_POSITIONS,
            "use_qformer_text_input": model_class is Blip2ForImageTextRetrieval,
        },
        text_config=text_config(language),
        num_query_tokens=3,
        image_text_hidden_size=8,
    )
    return randomised(model_class(config), std=0.2)


def target(**changed: object) -> MedBlipForConditionalGeneration:
    """A MedBLIP model that BLIP-2's Q-Former fits, with other weights."""
    torch.manual_seed(9)
    qformer = {"num_query_tokens": 3, "max_text_positions": TEXT_POSITIONS, **SIZES}
    config = MedBlipConfig(
        vision_config=blip2(Blip2Model).config.vision_config,
        text_config=text_config("llama"),
        qformer_config=MedQFormerConfig(**qformer | changed.pop("qformer", {})),
        **{"volume_size": 16, "volume_patch_size": 8, "itc_hidden_size": 8, **changed},
    )
    return MedBlipForConditionalGeneration(config).eval()


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=CLASSES, ids=lambda c: c.__name__)
def source(request: pytest.FixtureRequest) -> PreTrainedModel:
    return blip2(request.param)


@pytest.mark.parametrize("shard", ["1GB", "40kB"], ids=["one-file", "sharded"])
def test_the_tower_and_the_query_stream_are_the_sources(
    source: PreTrainedModel, shard: str, tmp_path: Path
) -> None:
    source.save_pretrained(tmp_path / "blip2", max_shard_size=shard)
    assert (len(list((tmp_path / "blip2").glob("*.safetensors"))) > 1) is (shard != "1GB")
    convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    pixels, image = randn(2, 3, 16, 16), randn(2, 5, 32, seed=2)
    model = target()
    load_qformer_init(model, tmp_path / "out" / "qformer")
    with torch.no_grad():
        tower = load_vision(tmp_path / "out" / "vision")
        tokens = tower(pixel_values=pixels).last_hidden_state
        expected_tokens = source.vision_model(pixel_values=pixels).last_hidden_state
        states = model.query_image(image)
        expected_states = source.qformer(
            query_embeds=source.query_tokens.expand(2, -1, -1), encoder_hidden_states=image
        ).last_hidden_state
    for name, found, expected in (
        ("tower", tokens, expected_tokens),
        ("query stream", states, expected_states),
    ):
        difference = relative_difference(found, expected)
        print(f"{type(source).__name__}, {name}: largest relative difference {difference:.1e}")
        assert difference <= TOLERANCE


def test_every_weight_that_was_taken_goes_back_and_the_rest_is_listed(
    source: PreTrainedModel, tmp_path: Path
) -> None:
    source.save_pretrained(tmp_path / "blip2", max_shard_size="40kB")
    report = convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    theirs = {ours: name for group in TEXT_STREAM for name, ours in group.items()}
    vision = load_file(tmp_path / "out" / "vision" / "model.safetensors")
    start = load_file(tmp_path / "out" / "qformer" / "qformer.safetensors")
    back = {f"vision_model.{name}": tensor for name, tensor in vision.items()}
    back |= {theirs.get(name, name): tensor for name, tensor in start.items()}
    state = source.state_dict()
    for name, tensor in back.items():
        assert torch.equal(tensor, state[name]), name
    left = {name for names in report.left_out.values() for name in names}
    tied = {"language_model.lm_head.weight"}  # transformers saves one of two tied tensors
    assert left | back.keys() | tied >= state.keys()
    assert not left & back.keys()
    described = json.loads((tmp_path / "out" / "qformer" / "qformer.json").read_text())
    assert {n for names in described["left_out"].values() for n in names} == left


def test_the_image_text_retrieval_checkpoint_adds_what_fits_of_the_text_stream(
    tmp_path: Path,
) -> None:
    source = blip2(Blip2ForImageTextRetrieval)
    source.save_pretrained(tmp_path / "blip2")
    report = convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    left = {name for names in report.left_out.values() for name in names}
    assert left == {
        "embeddings.word_embeddings.weight",
        *(f"itm_head.{kind}" for kind in ("weight", "bias")),
        *(
            f"qformer.encoder.layer.{i}.{part}"
            for i in range(2)
            for part in (
                "intermediate.dense.weight",
                "intermediate.dense.bias",
                "output.dense.weight",
                "output.dense.bias",
                "output.LayerNorm.weight",
                "output.LayerNorm.bias",
            )
        ),
    }
    model = target()
    done = load_qformer_init(model, tmp_path / "out" / "qformer")
    assert not done.not_copied
    states = randn(2, 3, 32, seed=4)
    with torch.no_grad():
        for ours, their in (
            (model.image_contrast, source.vision_projection),
            (model.text_contrast, source.text_projection),
        ):
            assert largest_difference(ours(states), their(states)) == 0
        positions = source.embeddings.position_embeddings.weight
        assert torch.equal(model.text_positions.weight, positions)


def test_only_the_named_weights_of_the_model_change(tmp_path: Path) -> None:
    blip2(Blip2ForImageTextRetrieval).save_pretrained(tmp_path / "blip2")
    convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    model = target()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = load_qformer_init(model, tmp_path / "out")  # the folder around it will do
    after = model.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == set(done.copied)
    assert {n for n in before if n.startswith(("qformer.", "query_tokens"))} <= changed


def test_a_model_with_fewer_text_positions_and_another_contrastive_width_takes_what_fits(
    tmp_path: Path,
) -> None:
    source = blip2(Blip2ForImageTextRetrieval)
    source.save_pretrained(tmp_path / "blip2")
    convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    model = target(qformer={"max_text_positions": 5}, itc_hidden_size=6)
    done = load_qformer_init(model, tmp_path / "out" / "qformer")
    positions = source.embeddings.position_embeddings.weight
    assert torch.equal(model.text_positions.weight, positions[:5])
    assert sorted(done.not_copied) == [
        *(f"image_contrast.{kind}" for kind in ("bias", "weight")),
        *(f"text_contrast.{kind}" for kind in ("bias", "weight")),
    ]
    assert "(8, 32)" in done.not_copied["image_contrast.weight"]


def test_a_t5_checkpoint_is_taken_as_an_opt_one_is(tmp_path: Path) -> None:
    blip2(Blip2ForConditionalGeneration, "t5").save_pretrained(tmp_path / "blip2")
    report = convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    reasons = {name: reason for reason, names in report.left_out.items() for name in names}
    assert reasons["language_model.shared.weight"] == "that checkpoint's language model"
    assert "language_projection.weight" in reasons
    assert load_qformer_init(target(), tmp_path / "out" / "qformer").copied


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"num_attention_heads": 2}, "other-qformer", "num_attention_heads 4 for 2"),
        ({"hidden_act": "relu"}, "other-qformer", "hidden_act 'gelu' for 'relu'"),
        ({"num_hidden_layers": 3}, "incomplete-weights", r"encoder\.layer\.2\."),
        ({"cross_attention_frequency": 1}, "incomplete-weights", r"layer\.1\.crossattention"),
        ({"num_query_tokens": 4}, "incomplete-weights", r"query_tokens \(1, 3, 32\)"),
        ({"intermediate_size": 40}, "incomplete-weights", "intermediate_query"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_q_former_of_another_architecture_is_refused_and_copies_nothing(
    tmp_path: Path, changed: dict[str, object], code: str, words: str
) -> None:
    blip2(Blip2Model).save_pretrained(tmp_path / "blip2")
    convert_blip2(str(tmp_path / "blip2"), tmp_path / "out")
    model = target(qformer=changed)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=words) as caught:
        load_qformer_init(model, tmp_path / "out" / "qformer")
    assert caught.value.code == code
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_folder_of_another_kind_is_no_start(tmp_path: Path) -> None:
    language_tower().save_pretrained(tmp_path / "language")
    for folder in (tmp_path / "language", tmp_path / "absent"):
        with pytest.raises(InputError, match=r"medblip convert blip2") as caught:
            load_qformer_init(target(), folder)
        assert caught.value.code == "no-qformer-init"
