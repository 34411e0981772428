"""Small ONNX graphs by hand, with random weights from a seed: what the tests of quantized graphs are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from toolkit.spec import Array

WIDTH, CLASSES, TABLE = 64, 6, 300


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Array]) -> bytes:
    """The model as bytes, opset 17, its weights in the file."""
    tensors = [numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def declare(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def norm_then_products() -> bytes:
    """x (n, 64) -> norm -> two products that only the norm feeds -> Relu -> Gemm (transposed) -> logits (n, 6)."""
    random = np.random.default_rng(0)
    weights = {
        "gain": 1 + random.normal(size=WIDTH) * 0.1,
        "shift": random.normal(size=WIDTH) * 0.1,
        "first.weight": random.normal(size=(WIDTH, 128)) / 8,
        "second.weight": random.normal(size=(WIDTH, 128)) / 8,
        "last.weight": random.normal(size=(CLASSES * 8, 128)) / 8,
        "last.bias": random.normal(size=CLASSES * 8),
    }
    weights["gain"][3] *= 40  # the outlier channel that smoothing is about
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["normed"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normed", "first.weight"], ["a"], name="first"),
        helper.make_node("MatMul", ["normed", "second.weight"], ["b"], name="second"),
        helper.make_node("Sub", ["a", "b"], ["c"], name="difference"),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("Gemm", ["d", "last.weight", "last.bias"], ["logits"], name="last", transB=1),
    ]
    shapes = [declare("x", ["n", WIDTH])], [declare("logits", ["n", CLASSES * 8])]
    return model_of(nodes, *shapes, weights)


def two_layers(rows: int | str = "n", **attributes: Any) -> bytes:
    """x (rows, 64) -> Gemm, Relu, Gemm -> logits (rows, 48), as a net of two layers is exported; `rows` may be fixed.

    `attributes` go to the first product.
    """
    random = np.random.default_rng(2)
    weights = {
        "first.weight": random.normal(size=(128, WIDTH)) / 8,
        "first.bias": random.normal(size=128),
        "last.weight": random.normal(size=(CLASSES * 8, 128)) / 8,
        "last.bias": random.normal(size=CLASSES * 8),
    }
    first = {"name": "first", "transB": 1, **attributes}
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["hidden"], **first),
        helper.make_node("Relu", ["hidden"], ["active"], name="relu"),
        helper.make_node("Gemm", ["active", "last.weight", "last.bias"], ["logits"], name="last", transB=1),
    ]
    return model_of(nodes, [declare("x", [rows, WIDTH])], [declare("logits", [rows, CLASSES * 8])], weights)


def token_convolution() -> bytes:
    """ids (n, length) -> rows of a table -> Conv over tokens, Relu, largest over tokens -> Gemm -> logits (n, 6)."""
    random = np.random.default_rng(1)
    weights = {
        "table": random.normal(size=(TABLE, WIDTH)),
        "conv.weight": random.normal(size=(96, WIDTH, 3)) / 14,
        "conv.bias": random.normal(size=96) * 0.1,
        "last.weight": random.normal(size=(CLASSES, 96)) / 8,
        "last.bias": random.normal(size=CLASSES),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="lookup"),
        helper.make_node("Transpose", ["rows"], ["channels"], name="transpose", perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "conv.weight", "conv.bias"], ["c"], name="conv", pads=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("ReduceMax", ["r"], ["best"], name="largest", axes=[2], keepdims=0),
        helper.make_node("Gemm", ["best", "last.weight", "last.bias"], ["logits"], name="last", transB=1),
    ]
    shapes = [declare("ids", ["n", "length"], TensorProto.INT64)], [declare("logits", ["n", CLASSES])]
    return model_of(nodes, *shapes, weights)


def rows_of(model: bytes, count: int, *, seed: int = 0) -> dict[str, Array]:
    """Random rows for either graph."""
    random = np.random.default_rng(seed)
    (declared,) = onnx.load_from_string(model).graph.input
    if declared.name == "ids":
        return {"ids": random.integers(0, TABLE, size=(count, 12))}
    return {"x": random.normal(size=(count, WIDTH)).astype(np.float32)}


def run(model: bytes, arrays: dict[str, Array]) -> Array:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, arrays)[0]
    return result


def nodes_of(model: bytes, kind: str) -> list[Any]:
    return [node for node in onnx.load_from_string(model).graph.node if node.op_type == kind]


def weights_of(model: bytes) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}
