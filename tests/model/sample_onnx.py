"""A tiny DINOv2 backbone in the real ONNX format, runnable, with an exporter's naming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEADS, LAYERS, PATCH, GRID, HIDDEN = 32, 2, 2, 14, 3, 128
LINEARS = {
    "attention/attention/query": (WIDTH, WIDTH),
    "attention/attention/key": (WIDTH, WIDTH),
    "attention/attention/value": (WIDTH, WIDTH),
    "attention/output/dense": (WIDTH, WIDTH),
    "mlp/fc1": (HIDDEN, WIDTH),
    "mlp/fc2": (WIDTH, HIDDEN),
}


class BackboneExport:
    """A DINOv2 backbone and a small head as an exporter writes them: matrices have no names."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def save(self, path: Path) -> Path:
        self._embeddings()
        tokens = "tokens0"
        for layer in range(LAYERS):
            tokens = self._layer(f"/backbone/encoder/layer.{layer}", tokens)
        self._norm("/backbone/layernorm", tokens, "features")
        self.constant("decoder.final_conv.weight", (1, WIDTH))
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [
                helper.make_tensor_value_info(
                    "image", TensorProto.FLOAT, [1, 3, *[GRID * PATCH] * 2]
                )
            ],
            [
                helper.make_tensor_value_info(
                    "features", TensorProto.FLOAT, [1, 1 + GRID * GRID, WIDTH]
                )
            ],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path

    def constant(self, name: str, shape: tuple[int, ...], mean: float = 0.0) -> str:
        value = self.rng.normal(mean, 0.2, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        name = f"onnx::Shape_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, output: str = "", **how: Any) -> str:
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **how))
        return output

    def _embeddings(self) -> None:
        at = "/backbone/embeddings"
        weights = "backbone.embeddings.patch_embeddings.projection"
        filters = [
            self.constant(f"{weights}.weight", (WIDTH, 3, PATCH, PATCH)),
            self.constant(f"{weights}.bias", (WIDTH,)),
        ]
        grid = self.node("Conv", ["image", *filters], f"{at}/Conv", strides=[PATCH, PATCH])
        flat = self.node("Reshape", [grid, self.integers(1, WIDTH, -1)], f"{at}/Flat")
        patches = self.node("Transpose", [flat], f"{at}/Turn", perm=[0, 2, 1])
        cls = self.constant("backbone.embeddings.cls_token", (1, 1, WIDTH))
        tokens = self.node("Concat", [cls, patches], f"{at}/Concat_1", axis=1)
        # As where positions are interpolated: the grid is reshaped, then joined to the CLS one.
        rows = self.constant("onnx::Reshape_1962", (1, GRID * GRID, WIDTH))
        square = self.node(
            "Reshape", [rows, self.integers(1, GRID, GRID, WIDTH)], f"{at}/Reshape_1"
        )
        back = self.node("Reshape", [square, self.integers(1, -1, WIDTH)], f"{at}/Reshape_2")
        first = self.constant("onnx::Concat_1957", (1, 1, WIDTH))
        positions = self.node("Concat", [first, back], f"{at}/Concat_6", axis=1)
        self.node("Add", [tokens, positions], f"{at}/Add", "tokens0")

    def _layer(self, at: str, tokens: str) -> str:
        normed = self._norm(f"{at}/norm1", tokens)
        attention = f"{at}/attention/attention"
        query, key, value = (
            self._heads(self._linear(at, f"attention/attention/{name}", normed))
            for name in ("query", "key", "value")
        )
        turned = self.node("Transpose", [key], f"{attention}/Transpose", perm=[0, 1, 3, 2])
        # Named like a module's own product: must not be taken for a linear layer.
        scores = self.node("MatMul", [query, turned], f"{attention}/MatMul")
        root = numpy_helper.from_array(np.float32((WIDTH // HEADS) ** -0.5), f"{at}/scale")
        self.constants.append(root)
        scaled = self.node("Mul", [scores, f"{at}/scale"], f"{attention}/Mul")
        weights = self.node("Softmax", [scaled], f"{attention}/Softmax", axis=-1)
        mixed = self.node("MatMul", [weights, value], f"{attention}/MatMul_1")
        joined = self.node("Transpose", [mixed], f"{attention}/Transpose_3", perm=[0, 2, 1, 3])
        flat = self.node("Reshape", [joined, self.integers(1, -1, WIDTH)], f"{attention}/Reshape_3")
        attended = self._linear(at, "attention/output/dense", flat)
        tokens = self._scaled_sum(at, "layer_scale1", attended, tokens)
        wide = self._linear(at, "mlp/fc1", self._norm(f"{at}/norm2", tokens))
        narrow = self._linear(at, "mlp/fc2", self.node("Gelu", [wide], f"{at}/mlp/activation/Gelu"))
        return self._scaled_sum(at, "layer_scale2", narrow, tokens)

    def _linear(self, layer: str, module: str, tokens: str) -> str:
        rows, columns = LINEARS[module]
        at = f"{layer}/{module}"
        matrix = self.constant(f"onnx::MatMul_{len(self.constants)}", (columns, rows))
        bias = self.constant(_name(at) + ".bias", (rows,))
        product = self.node("MatMul", [tokens, matrix], f"{at}/MatMul")
        return self.node("Add", [bias, product], f"{at}/Add")

    def _heads(self, tokens: str) -> str:
        shape = self.integers(1, -1, HEADS, WIDTH // HEADS)
        split = self.node("Reshape", [tokens, shape], f"{tokens}/split")
        return self.node("Transpose", [split], f"{tokens}/turn", perm=[0, 2, 1, 3])

    def _norm(self, at: str, tokens: str, output: str = "") -> str:
        weight = self.constant(_name(at) + ".weight", (WIDTH,), 1.0)
        bias = self.constant(_name(at) + ".bias", (WIDTH,))
        inputs = [tokens, weight, bias]
        return self.node("LayerNormalization", inputs, at, output, epsilon=1e-6)

    def _scaled_sum(self, layer: str, module: str, update: str, tokens: str) -> str:
        scale = self.constant(_name(f"{layer}/{module}") + ".lambda1", (WIDTH,))
        scaled = self.node("Mul", [update, scale], f"{layer}/{module}/Mul")
        return self.node("Add", [scaled, tokens], f"{layer}/{module}/Add")


def _name(node: str) -> str:
    return node.removeprefix("/").replace("/", ".")
