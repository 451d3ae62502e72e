"""State dicts of the paper's reference repository: same prefix, same answers, nothing silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from published import BLOCK_EPS, HEAD, LAVIS_EPS, Reference, halved, randomised
from test_conversion_axes import as_the_reference_reads, ras_volume
from torch import Tensor

from medblip.errors import InputError
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.conversion import convert_reference
from medblip.model.conversion.scan_axes import positions_to_ras, to_ras
from model.tiny import (
    language_tower,
    largest_difference,
    prompt_rows,
    relative_difference,
    tokenizer,
    vocabulary,
)

# Relative to the largest value: what ten times the epsilon changes, and rounding of float64.
TOLERANCES = {LAVIS_EPS: 1e-4, BLOCK_EPS: 1e-9}
# language model: its prefix in the state dict, the projection's name, what it is frozen in
VARIANTS = {
    "gpt2": ("lm_model.", "proj", torch.float16),
    "t5": ("t5_model.", "t5_proj", torch.bfloat16),
}


class Published:
    """A reference model, its language model and its state dict as the trainer saves it."""

    def __init__(self, folder: Path, language: str, *, text: bool = False) -> None:
        self.prefix, self.projection, half = VARIANTS[language]
        self.language = language_tower(language)
        self.folder = folder / "language"
        self.language.save_pretrained(self.folder)
        tokenizer().save_pretrained(self.folder)
        self.model = randomised(Reference(32, self.projection, text=text))
        blocks = {n: t for n, t in self.model.state_dict().items() if ".blocks." in n}
        halves = halved(blocks)  # LAVIS's doing; the patch embedding is 3D and stays
        self.model.load_state_dict({n: t.float() for n, t in halves.items()}, strict=False)
        frozen = {self.prefix + n: t.to(half) for n, t in self.language.state_dict().items()}
        self.state = self.model.state_dict() | halves | frozen | self._masks(language)

    def _masks(self, language: str) -> dict[str, Tensor]:
        """What old releases of GPT-2 keep beside the weights."""
        if language != "gpt2":
            return {}
        mask = torch.ones(1, 1, 8, 8, dtype=torch.bool).tril()
        return {
            f"{self.prefix}transformer.h.{i}.attn.{name}": value
            for i in range(2)
            for name, value in (("bias", mask), ("masked_bias", torch.tensor(-1e4)))
        }

    def save(self, folder: Path, **changed: Tensor) -> Path:
        torch.save(self.state | changed, folder / "epoch10.pth")
        return folder / "epoch10.pth"

    def logits(self, volumes: Tensor, text: Tensor, answer: Tensor) -> Tensor:
        """The language model on text and then image, the reference's order."""
        words = self.language.get_input_embeddings()
        embeddings = torch.cat([words(text), self.model(volumes)], 1)
        if self.language.config.is_encoder_decoder:
            return self.language(inputs_embeds=embeddings, labels=answer).logits
        embeddings = torch.cat([embeddings, words(answer)], 1)
        return self.language(inputs_embeds=embeddings).logits[:, -answer.shape[1] :]


@pytest.fixture(params=VARIANTS)
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    return Published(tmp_path, request.param)


def our_logits(
    model: MedBlipForConditionalGeneration, volumes: Tensor, text: Tensor, answer: Tensor
) -> Tensor:
    places = torch.full((len(text), 3), model.config.image_token_id)
    ids = torch.cat([text, places], 1)
    if model.config.is_encoder_decoder:
        return model(input_ids=ids, labels=answer, pixel_values=volumes).logits
    ids = torch.cat([ids, answer], 1)
    return model(input_ids=ids, pixel_values=volumes).logits[:, -answer.shape[1] :]


def prompts() -> tuple[Tensor, Tensor]:
    text, answer = prompt_rows([6], seed=1, image=False), prompt_rows([4], seed=2, image=False)
    return torch.tensor(text), torch.tensor(answer)


@pytest.mark.parametrize("stored_as", ["RAS", "LPS", "LIA"])
@pytest.mark.parametrize("eps", [LAVIS_EPS, BLOCK_EPS])
def test_answers_are_the_references(
    published: Published, tmp_path: Path, stored_as: str, eps: float
) -> None:
    """In float64, so that a difference is one of the models and not of rounding.

    One is known: LAVIS's ln_vision adds 1e-5 to the variance, Blip2VisionModel's norm 1e-6. With
    the same number nothing is left.
    """
    report = convert_reference(
        published.save(tmp_path),
        tmp_path / "model",
        language=str(published.folder),
        stored_as=stored_as,
    )
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model").double()
    theirs, theirs.ln_vision.eps = published.model.double(), eps
    published.language.double()
    volume = torch.from_numpy(ras_volume())[None, None].double()
    as_stored = as_the_reference_reads(ras_volume(), stored_as).double()
    text, answer = prompts()
    with torch.no_grad():
        states = model.query_image(*model.encode_image(volume))
        pairs = {
            "queries": (states, theirs.query(as_stored)),
            "prefix": (model.make_prefix(states), theirs(as_stored)),
            "logits": (
                our_logits(model, volume, text, answer),
                published.logits(as_stored, text, answer),
            ),
        }
        mirrored = our_logits(model, volume.flip(2), text, answer)
    for name, (found, expected) in pairs.items():
        difference = relative_difference(found, expected)
        print(f"{stored_as}, eps {eps}, {name}: largest relative difference {difference:.1e}")
        assert difference <= TOLERANCES[eps], f"{name}: {difference}"
    assert any(stored_as in note for note in report.notes)
    assert relative_difference(mirrored, pairs["logits"][1]) > 1e-3  # the image is seen


def test_every_weight_is_taken_left_out_or_compared(published: Published, tmp_path: Path) -> None:
    report = convert_reference(
        published.save(tmp_path), tmp_path / "model", language=str(published.folder)
    )
    left = {name for names in report.left_out.values() for name in names}
    layer = "Qformer.bert.encoder.layer."
    text_ffn = {
        name
        for name in published.state
        if name.startswith(layer) and name.split(".")[5] in ("intermediate", "output")
    }
    language = {name for name in published.state if name.startswith(published.prefix)}
    others = {"qa_proj.weight", "qa_proj.bias", "Qformer.bert.embeddings.position_ids"}
    assert left == text_ffn | language | others
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    learned = model.learned_state()
    assert learned.keys() == set(report.taken) | report.new.keys()
    assert set(report.new) == {
        "text_map.weight",
        "text_map.bias",
        "text_positions.weight",
        "vision_model.embeddings.class_embedding",
        "vision_model.embeddings.position_embedding",
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.patch_embedding.bias",
    }
    written = json.loads((tmp_path / "model" / "conversion.json").read_text())
    assert written["new"].keys() == report.new.keys()


def test_every_weight_that_was_taken_goes_back(published: Published, tmp_path: Path) -> None:
    convert_reference(published.save(tmp_path), tmp_path / "model", language=str(published.folder))
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    state, mine = published.state, model.state_dict()
    same = {
        "temp": "temperature",
        "query_tokens": "query_tokens",
        f"{published.projection}.weight": "prefix_map.weight",
        "vision_proj.bias": "image_contrast.bias",
        "text_proj.weight": "text_contrast.weight",
        "ln_vision.weight": "vision_model.post_layernorm.weight",
        "visual_encoder.cls_token": "patch_embedding.cls_token",
        "visual_encoder.blocks.1.mlp.fc2.weight": "vision_model.encoder.layers.1.mlp.fc2.weight",
        "Qformer.bert.embeddings.LayerNorm.bias": "qformer.layernorm.bias",
        "Qformer.bert.encoder.layer.2.crossattention.self.key.weight": "qformer.encoder.layer.2."
        "crossattention.attention.key.weight",
        "Qformer.bert.encoder.layer.1.output_query.LayerNorm.weight": "qformer.encoder.layer.1."
        "output_query.LayerNorm.weight",
    }
    for theirs, name in same.items():
        assert largest_difference(mine[name], state[theirs]) == 0, theirs
    kernel = state["visual_encoder.patch_embed_3d.proj.weight"]
    assert torch.equal(mine["patch_embedding.projection.weight"], to_ras(kernel, "RAS"))
    places = state["visual_encoder.pos_embed_3d"]
    assert torch.equal(mine["patch_embedding.positions"], positions_to_ras(places, "RAS"))


def test_a_model_with_its_text_embeddings_put_back_gives_its_positions(tmp_path: Path) -> None:
    published = Published(tmp_path, "gpt2", text=True)
    report = convert_reference(
        published.save(tmp_path), tmp_path / "model", language=str(published.folder)
    )
    words = "Qformer.bert.embeddings.word_embeddings.weight"
    assert words in {name for names in report.left_out.values() for name in names}
    assert "text_positions.weight" not in report.new
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    positions = published.state["Qformer.bert.embeddings.position_embeddings.weight"]
    assert torch.equal(model.text_positions.weight, positions)


def test_the_prefix_is_the_plain_projection(published: Published, tmp_path: Path) -> None:
    convert_reference(published.save(tmp_path), tmp_path / "model", language=str(published.folder))
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert model.config.prefix_norm is False
    assert "prefix_scale" not in model.state_dict()
    states = torch.randn(1, 3, 128, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(model.make_prefix(states), model.prefix_map(states))
    again = tmp_path / "again"
    model.save_pretrained(again)
    assert not MedBlipForConditionalGeneration.from_pretrained(again).config.prefix_norm


def test_the_folder_holds_a_processor_that_fits(published: Published, tmp_path: Path) -> None:
    convert_reference(published.save(tmp_path), tmp_path / "model", language=str(published.folder))
    processor = MedBlipProcessor.from_pretrained(tmp_path / "model")
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    inputs = processor(records=["he"])
    assert processor.image_token_id == model.config.image_token_id == len(vocabulary())
    assert processor.image_processor.preprocessing == {"size": 16}
    assert model.generate(**inputs, max_new_tokens=3).shape[1] <= 4


def test_the_same_file_gives_the_same_folder(published: Published, tmp_path: Path) -> None:
    source = published.save(tmp_path)
    for name in ("one", "two"):
        convert_reference(source, tmp_path / name, language=str(published.folder))
        torch.rand(7)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# ---------------------------------------------------------------- the language model


def test_rounding_of_the_language_model_is_no_difference(tmp_path: Path) -> None:
    published = Published(tmp_path, "gpt2")
    frozen = {n: t for n, t in published.state.items() if n.startswith("lm_model.")}
    rounded = [n for n, t in frozen.items() if t.dtype == torch.float16]
    assert rounded  # the base is float32
    convert_reference(published.save(tmp_path), tmp_path / "model", language=str(published.folder))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lm_model.transformer.h.1.mlp.c_fc.weight", lambda t: t * 1.02),
        ("lm_model.transformer.h.0.ln_1.bias", lambda t: t + 1e-3),
        ("lm_model.transformer.wpe.weight", lambda t: t[:-1]),
        ("lm_model.transformer.wte.weight", lambda t: t * float("nan")),
    ],
    ids=["two percent", "bias", "shape", "nan"],
)
def test_another_language_model_is_refused_by_the_weights_that_differ(
    tmp_path: Path, name: str, change: Any
) -> None:
    published = Published(tmp_path, "gpt2")
    source = published.save(tmp_path, **{name: change(published.state[name])})
    with pytest.raises(InputError, match="other values or shape") as caught:
        convert_reference(source, tmp_path / "model", language=str(published.folder))
    assert caught.value.code == "other-language"
    assert name.removeprefix("lm_model.") in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_a_language_model_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    published = Published(tmp_path, "gpt2")
    language_tower("t5").save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="BioMedLM") as caught:
        convert_reference(
            published.save(tmp_path), tmp_path / "model", language=str(tmp_path / "t5")
        )
    assert caught.value.code == "other-language"


def test_without_a_language_model_in_it_the_report_says_so(tmp_path: Path) -> None:
    published = Published(tmp_path, "t5")
    published.state = {n: t for n, t in published.state.items() if not n.startswith("t5_model")}
    report = convert_reference(
        published.save(tmp_path), tmp_path / "model", language=str(published.folder)
    )
    assert any("on trust" in note for note in report.notes)


def test_t5s_other_activation_is_told_and_can_be_had(tmp_path: Path) -> None:
    published = Published(tmp_path, "t5")
    source, config = published.save(tmp_path), published.folder / "config.json"
    report = convert_reference(source, tmp_path / "one", language=str(published.folder))
    assert any("exact GELU" in note for note in report.notes)
    settings = json.loads(config.read_text()) | {"dense_act_fn": "gelu"}
    config.write_text(json.dumps(settings))
    report = convert_reference(source, tmp_path / "two", language=str(published.folder))
    assert not any("exact GELU" in note for note in report.notes)
    model = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "two")
    assert model.language_model.config.dense_act_fn == "gelu"


# ---------------------------------------------------------------- other sizes


def test_the_towers_sizes_can_be_given(tmp_path: Path) -> None:
    published = Published(tmp_path, "gpt2")
    source = published.save(tmp_path)
    convert_reference(source, tmp_path / "one", language=str(published.folder))
    tower = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "one").vision_model
    tower.config.save_pretrained(tmp_path / "tower")
    assert tower.config.num_attention_heads == tower.config.hidden_size // HEAD
    for given in (tmp_path / "tower", tmp_path / "tower" / "config.json"):
        out = tmp_path / f"with-{given.name}"
        convert_reference(source, out, language=str(published.folder), vision_config=given)
        first, second = (folder / "model.safetensors" for folder in (tmp_path / "one", out))
        assert first.read_bytes() == second.read_bytes()
    settings = json.loads((tmp_path / "tower" / "config.json").read_text())
    (tmp_path / "tower" / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 1}))
    with pytest.raises(InputError, match=r"unknown weights .*blocks\.1\."):
        convert_reference(
            source,
            tmp_path / "other",
            language=str(published.folder),
            vision_config=tmp_path / "tower",
        )
