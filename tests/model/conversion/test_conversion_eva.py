"""EVA-CLIP's ViT-g from LAVIS's file: same hidden states, same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from published import BLOCK_EPS, LAVIS_EPS, Eva, halved, randomised
from safetensors.torch import load_file
from torch import Tensor, nn

from medblip.errors import InputError
from medblip.model.bases import load_vision
from medblip.model.conversion import convert_eva
from medblip.model.conversion.eva_names import ENTRY, block_names
from medblip.model.vision import encode_tokens
from model.tiny import largest_difference, relative_difference

TOLERANCE = 2e-5  # float32, two blocks and a norm, relative to the largest value
LAYERS = 2


@pytest.fixture
def eva() -> Eva:
    return randomised(Eva())


def save(state: dict[str, Tensor], folder: Path, name: str = "eva_vit_g.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


def images(seed: int = 1) -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", ["float32", "as-lavis-halves-it"])
def test_hidden_states_are_those_of_the_published_model(
    eva: Eva, tmp_path: Path, precision: str
) -> None:
    if precision != "float32":
        eva.load_state_dict({n: t.float() for n, t in halved(eva.state_dict()).items()})
        source = save(halved(eva.state_dict()), tmp_path)
    else:
        source = save(eva.state_dict(), tmp_path)
    convert_eva(source, tmp_path / "base", layers=LAYERS)
    tower = load_vision(tmp_path / "base")
    with torch.no_grad():
        plain = eva(images())
        expected = F.layer_norm(plain, plain.shape[-1:], eps=BLOCK_EPS)
        found = tower(pixel_values=images()).last_hidden_state
        tokens = tower.embeddings(images())
        through_ours, _ = encode_tokens(tower, tokens, None)
        before_norm = tower.encoder(inputs_embeds=tokens).last_hidden_state
    for name, value, wanted in (
        ("before the norm", before_norm, plain),
        ("after it", found, expected),
        ("through encode_tokens", through_ours, expected),
    ):
        difference = relative_difference(value, wanted)
        print(f"{precision}, {name}: largest relative difference {difference:.1e}")
        assert difference <= TOLERANCE, f"{name}: {difference}"


@pytest.mark.parametrize("as_lavis", [False, True], ids=["float32", "halved"])
def test_every_bit_comes_back(eva: Eva, tmp_path: Path, as_lavis: bool) -> None:
    state = halved(eva.state_dict()) if as_lavis else eva.state_dict()
    convert_eva(save(state, tmp_path), tmp_path / "base", layers=LAYERS)
    back = to_lavis(load_file(tmp_path / "base" / "model.safetensors"))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype, name
        assert torch.equal(back[name], tensor), name


def to_lavis(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back, for what is in LAVIS's file."""
    tensors = {n: t for n, t in tensors.items() if not n.startswith("post_layernorm")}
    for i in range(LAYERS):
        attention = f"encoder.layers.{i}.self_attn."
        query, key, value = tensors.pop(f"{attention}qkv.bias").chunk(3)
        assert not key.any()
        tensors |= {f"{attention}q_bias": query, f"{attention}v_bias": value}
    theirs = {ours: name for name, ours in (ENTRY | block_names(LAYERS)).items()}
    return {theirs[name]: tensor for name, tensor in tensors.items()}


def test_blocks_past_the_wanted_ones_and_the_head_are_left_out_by_name(
    eva: Eva, tmp_path: Path
) -> None:
    extra = {"norm.weight": torch.ones(3), "head.bias": torch.ones(2), "mask_token": torch.ones(1)}
    source = save(eva.state_dict() | extra, tmp_path)
    report = convert_eva(source, tmp_path / "base", layers=1)
    left = {name for names in report.left_out.values() for name in names}
    assert left == {n for n in eva.state_dict() if n.startswith("blocks.1.")} | extra.keys()
    assert load_vision(tmp_path / "base").config.num_hidden_layers == 1
    written = json.loads((tmp_path / "base" / "conversion.json").read_text())
    assert {name for names in written["left_out"].values() for name in names} == left
    assert any("final norm" in note for note in written["notes"])


def test_without_a_trained_norm_tokens_are_still_normalised(eva: Eva, tmp_path: Path) -> None:
    report = convert_eva(save(eva.state_dict(), tmp_path), tmp_path / "base", layers=LAYERS)
    assert report.new.keys() == {"post_layernorm.weight", "post_layernorm.bias"}
    with torch.no_grad():
        tokens = load_vision(tmp_path / "base")(pixel_values=images()).last_hidden_state
        unnormed = eva(images())
    assert largest_difference(tokens.mean(-1), torch.zeros(())) < 1e-5
    assert largest_difference(tokens.var(-1, correction=0), torch.ones(())) < 1e-3
    assert largest_difference(tokens, unnormed) > 0.1  # it is not the identity


def test_the_trained_norm_comes_from_a_blip2_checkpoint_of_lavis(eva: Eva, tmp_path: Path) -> None:
    norm = randomised(nn.ModuleDict({"ln_vision": nn.LayerNorm(eva.cls_token.shape[-1])}), seed=5)
    blip2 = {"model": norm.state_dict() | {"Qformer.bert.x": torch.ones(1)}, "epoch": 3}
    torch.save(blip2, tmp_path / "blip2_pretrained.pth")
    source = save(eva.state_dict(), tmp_path)
    report = convert_eva(
        source,
        tmp_path / "base",
        layers=LAYERS,
        ln_vision=tmp_path / "blip2_pretrained.pth",
    )
    assert not report.new
    with torch.no_grad():
        found = load_vision(tmp_path / "base")(pixel_values=images()).last_hidden_state
        plain = eva(images())
        weight, bias = norm["ln_vision"].weight, norm["ln_vision"].bias
        for eps in (BLOCK_EPS, LAVIS_EPS):
            expected = F.layer_norm(plain, plain.shape[-1:], weight, bias, eps)
            difference = relative_difference(found, expected)
            print(f"eps {eps}: largest relative difference {difference:.1e}")
            # LAVIS's ln_vision adds 1e-5 to the variance, transformers' post_layernorm 1e-6.
            smallest = float(plain.var(-1, correction=0).min())
            assert difference <= TOLERANCE + (eps - BLOCK_EPS) / 2 / smallest


def test_a_checkpoint_without_the_norm_is_no_source_of_it(eva: Eva, tmp_path: Path) -> None:
    source = save(eva.state_dict(), tmp_path)
    with pytest.raises(InputError, match=r"ln_vision\.bias.*ln_vision\.weight"):
        convert_eva(source, tmp_path / "base", layers=LAYERS, ln_vision=source)
    assert not (tmp_path / "base").exists()
