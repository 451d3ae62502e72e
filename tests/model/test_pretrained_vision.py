"""The ONNX conversion against onnx's own reference evaluator, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from sample_onnx import GRID, HEADS, PATCH, WIDTH, BackboneExport
from transformers import AutoImageProcessor, Dinov2Model

from medblip.errors import InputError
from medblip.model.pretrained.vision_onnx import convert_vision

TOLERANCE = 2e-5  # float32, two layers; values of a few units


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return BackboneExport(np.random.default_rng(0)).save(tmp_path / "vision.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vision").mkdir()
    return tmp_path / "vision"


def convert(onnx_file: Path, folder: Path) -> None:
    convert_vision(onnx_file, folder, head_width=WIDTH // HEADS)


def edit(onnx_file: Path, change: Callable[[onnx.GraphProto], None]) -> None:
    model = onnx.load(str(onnx_file))
    change(model.graph)
    onnx.save(model, str(onnx_file))


def test_the_converted_model_computes_what_the_graph_computes(exported: Path, folder: Path) -> None:
    convert(exported, folder)
    size = GRID * PATCH
    image = np.random.default_rng(1).normal(size=(1, 3, size, size)).astype(np.float32)
    expected = ReferenceEvaluator(str(exported)).run(None, {"image": image})[0]
    model = Dinov2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        features = model(torch.from_numpy(image)).last_hidden_state.numpy()
    assert features.shape == (1, 1 + GRID * GRID, WIDTH)
    difference = np.abs(features - expected).max()
    assert difference < TOLERANCE, f"largest difference {difference}"
    assert np.abs(expected).max() > 0.5


def test_sizes_come_from_the_weights(exported: Path, folder: Path) -> None:
    convert(exported, folder)
    config = Dinov2Model.from_pretrained(folder).config
    assert (config.image_size, config.patch_size) == (GRID * PATCH, PATCH)
    assert (config.hidden_size, config.num_attention_heads) == (WIDTH, HEADS)
    assert (config.num_hidden_layers, config.mlp_ratio) == (2, 4)


def test_image_statistics_load_as_an_image_processor(exported: Path, folder: Path) -> None:
    convert(exported, folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    grey = np.full((50, 60, 3), 128, np.uint8)
    pixels = processor(grey, return_tensors="pt").pixel_values
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert pixels.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(pixels[0, :, 100, 100].numpy(), expected, atol=1e-5)


def test_a_matrix_without_a_name_is_reported_missing(exported: Path, folder: Path) -> None:
    def rename(graph: onnx.GraphProto) -> None:
        node = next(n for n in graph.node if n.name == "/backbone/encoder/layer.1/mlp/fc2/MatMul")
        node.name = "MatMul_77"

    edit(exported, rename)
    with pytest.raises(InputError, match=r"missing: encoder\.layer\.1\.mlp\.fc2\.weight") as caught:
        convert(exported, folder)
    assert caught.value.code == "weights-incomplete"


def test_a_weight_that_the_model_lacks_is_reported(exported: Path, folder: Path) -> None:
    def add(graph: onnx.GraphProto) -> None:
        extra = onnx.numpy_helper.from_array(np.ones(3, np.float32), "backbone.registers")
        graph.initializer.append(extra)

    edit(exported, add)
    with pytest.raises(InputError, match="not expected: registers"):
        convert(exported, folder)


def test_a_weight_of_another_shape_is_reported(exported: Path, folder: Path) -> None:
    def shorten(graph: onnx.GraphProto) -> None:
        old = next(t for t in graph.initializer if t.name == "backbone.layernorm.bias")
        old.CopyFrom(onnx.numpy_helper.from_array(np.ones(7, np.float32), old.name))

    edit(exported, shorten)
    with pytest.raises(InputError, match=r"of another shape: layernorm\.bias"):
        convert(exported, folder)


def test_nan_is_refused(exported: Path, folder: Path) -> None:
    def spoil(graph: onnx.GraphProto) -> None:
        old = next(t for t in graph.initializer if t.name == "backbone.layernorm.bias")
        bad = np.full(WIDTH, np.nan, np.float32)
        old.CopyFrom(onnx.numpy_helper.from_array(bad, old.name))

    edit(exported, spoil)
    with pytest.raises(InputError, match=r"NaN or infinity: layernorm\.bias") as caught:
        convert(exported, folder)
    assert caught.value.code == "weights-not-finite"


def test_positions_must_be_found(exported: Path, folder: Path) -> None:
    def rename(graph: onnx.GraphProto) -> None:
        next(n for n in graph.node if n.name == "/backbone/embeddings/Concat_6").name = "Concat_6"

    edit(exported, rename)
    with pytest.raises(InputError, match=r"position embeddings found in \['Reshape'\]"):
        convert(exported, folder)


def test_what_is_not_onnx_is_refused(tmp_path: Path, folder: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\xff" * 200)
    with pytest.raises(InputError, match=r"garbage\.onnx: is not an ONNX model"):
        convert(garbage, folder)
    garbage.write_bytes(b"")
    with pytest.raises(InputError, match=r"position embeddings found in no node"):
        convert(garbage, folder)


def test_weights_in_other_files_are_not_followed(exported: Path, folder: Path) -> None:
    def point_outside(graph: onnx.GraphProto) -> None:
        tensor = graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret.bin")

    model = onnx.load(str(exported))
    point_outside(model.graph)
    exported.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="weights lie in other files"):
        convert(exported, folder)
