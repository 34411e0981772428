"""Q/DQ pairs for TensorRT around products of a graph whose rest is in half precision: INT8 or FP8.

TensorRT 11 is strongly typed: a product runs in 8 bits where both of its inputs come out of a DequantizeLinear, and
what is between products runs in the type that the graph gives it. So the graph is first made fp16 (`precision`), then
pairs are put at the inputs of products, with scales of the type that is there.

| kind | activations                    | weights                          |
|------|--------------------------------|----------------------------------|
| int8 | one scale, largest / 127       | a scale for each output, stored in 8 bits |
| fp8  | one scale, largest / 448 (E4M3) | one scale, stored in 8 bits      |

Zero points are 0, biases stay as they are, nothing is converted behind a product. The output layer of a classifier,
softmax and norms stay out, as in `int8`.
Limit: ONNX Runtime answers for such a graph by computing it in float, so its answers can be judged anywhere and its
speed only in TensorRT.
Source: NVIDIA TensorRT, "Explicit Quantization"; Micikevicius et al. 2022, FP8 formats (arXiv:2209.05433).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.compress.operators import find_nodes
from toolkit.errors import InputError, require
from toolkit.export.precision import FLOAT_OPERATORS, to_fp16
from toolkit.spec import Array

KINDS = {"int8": 127.0, "fp8": 448.0}
PAIR_OPSET = 21  # scales in half precision and 8-bit floats
PRODUCTS = ("MatMul", "Gemm", "Conv")
SMALLEST_SCALE = 2.0**-14  # the smallest normal fp16: below it a scale would lose digits, or be 0


def find_products(graph: Any, *, keep_float: Sequence[str] = ()) -> list[str]:
    """Names of the products of an fp32 ONNX model that are worth 8 bits on a GPU, in their order."""
    types = {node.name: node.op_type for node in graph.graph.node}
    return [name for name in find_nodes(graph, "static", target="tensorrt", keep_float=keep_float)
            if types[name] in PRODUCTS]  # fmt: skip


def quantize_explicitly(
    graph: Any, largest: Mapping[str, float], kind: str, *, nodes: Sequence[str], keep_float: Sequence[str] = ()
) -> bytes:
    """An fp32 ONNX model (`graph`, nodes named) in fp16, with `nodes` in 8 bits of `kind`.

    `largest` is the largest absolute value of each tensor that a node reads, by its name in `graph`. `keep_float`
    names nodes that stay in float32. Raises `InputError` when there is nothing to quantize.
    """
    onnx = require("onnx", extra="train")
    if not nodes:
        raise InputError("nothing to quantize: no product of this graph has weights enough; build it in fp16")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    read = {node.name: (node.input[0], node.input[1]) for node in graph.graph.node if node.name in set(nodes)}
    upgraded = onnx.version_converter.convert_version(graph, PAIR_OPSET)
    made = onnx.load_from_string(
        to_fp16(upgraded.SerializeToString(), keep_float=keep_float, float_operators=FLOAT_OPERATORS)
    )
    pairs = _Pairs(onnx, made.graph, kind)
    for node in list(made.graph.node):
        if node.name in read:
            source, stored = read[node.name]
            pairs.quantize(node, largest[source], weights[stored])
    _drop_unused(made.graph)
    onnx.checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content


class _Pairs:
    """Puts pairs into a graph, one for each tensor and scale, however many products read it."""

    def __init__(self, onnx: Any, graph: Any, kind: str) -> None:
        self._onnx, self._graph, self._kind, self._most = onnx, graph, kind, KINDS[kind]
        self._types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        self._made: dict[tuple[str, float], str] = {}

    def quantize(self, node: Any, largest: float, weights: Array) -> None:
        """Pairs at both inputs of a product."""
        half = self._types[node.input[1]]
        node.input[0] = self._activation(node, largest, half)
        node.input[1] = self._weights(node, weights, half)

    def _activation(self, node: Any, largest: float, half: int) -> str:
        name, scale = node.input[0], max(largest / self._most, SMALLEST_SCALE)
        if (name, scale) not in self._made:
            scales, zero = self._constant(f"{name}.scale", np.array(scale), half), self._zero(f"{name}.zero", ())
            made = self._onnx.helper.make_node
            place = list(self._graph.node).index(node)
            self._graph.node.insert(
                place, made("QuantizeLinear", [name, scales, zero], [f"{name}.q"], name=f"{name}.Q")
            )
            self._graph.node.insert(
                place + 1, made("DequantizeLinear", [f"{name}.q", scales, zero], [f"{name}.dq"], name=f"{name}.DQ")
            )
            self._made[name, scale] = f"{name}.dq"
        return self._made[name, scale]

    def _weights(self, node: Any, weights: Array, half: int) -> str:
        name, axis = node.input[1], output_axis(node, weights.ndim)
        if self._kind == "int8":
            others = tuple(place for place in range(weights.ndim) if place != axis)
            scale = np.maximum(np.abs(weights).max(axis=others) / self._most, SMALLEST_SCALE)
            steps = scale.reshape([-1 if place == axis else 1 for place in range(weights.ndim)])
        else:
            scale = steps = np.maximum(np.abs(weights).max() / self._most, SMALLEST_SCALE)
        stored = self._store(f"{name}.{self._kind}", weights / steps)
        inputs = [
            stored,
            self._constant(f"{name}.scale", np.asarray(scale), half),
            self._zero(f"{name}.zero", np.shape(scale)),
        ]
        given = {"axis": axis} if np.ndim(scale) else {}
        made = self._onnx.helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], name=f"{name}.DQ", **given)
        self._graph.node.insert(list(self._graph.node).index(node), made)
        return f"{name}.dq"

    def _store(self, name: str, values: Array) -> str:
        if self._kind == "int8":
            content = np.clip(np.rint(values), -127, 127).astype(np.int8)
        else:
            content = np.clip(values, -self._most, self._most).astype(_float8())
        return self._add(content, name)

    def _zero(self, name: str, shape: tuple[int, ...]) -> str:
        return self._add(np.zeros(shape, dtype=np.int8 if self._kind == "int8" else _float8()), name)

    def _constant(self, name: str, values: Array, data_type: int) -> str:
        return self._add(values.astype(self._onnx.helper.tensor_dtype_to_np_dtype(data_type)), name)

    def _add(self, values: Array, name: str) -> str:
        if name not in self._types:
            tensor = self._onnx.numpy_helper.from_array(values, name)
            self._graph.initializer.append(tensor)
            self._types[name] = tensor.data_type
        return name


def _float8() -> Any:
    return require("ml_dtypes", extra="train").float8_e4m3fn


def output_axis(node: Any, axes: int) -> int:
    """Along which axis of its weights a product's outputs lie."""
    if node.op_type == "Conv":
        return 0
    transposed = any(given.name == "transB" and given.i for given in node.attribute)
    return 0 if node.op_type == "Gemm" and transposed else axes - 1


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
