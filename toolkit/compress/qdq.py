"""What a graph with fake quantizers still needs before it is a small file with fast kernels.

The exporter writes `QuantizeLinear` and `DequantizeLinear` around float weights. Here weights are rounded once and
kept in 8 bits, turned the way their product reads them. For the target *cpu* signed activations q with zero point 0
become unsigned q + 128 with zero point 128: the same numbers to the last bit, in the form that CPU kernels are
written for; and convolutions get their bias in 32 bits, without which ONNX Runtime leaves them in float. TensorRT
takes signed activations with zero point 0 and float biases only, so for *tensorrt* both stay as they are.

Source: ONNX operators QuantizeLinear and DequantizeLinear, opset 13; ONNX Runtime, "Quantize ONNX models".
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np


def finish_graph(model: Any, *, target: str) -> dict[str, int]:
    """Do all of the above to an ONNX `model`, in place; returns how many operators of which type have int8 weights."""
    _keep_constants(model.graph)
    stored = _store_weights(model.graph)
    if target == "cpu":
        _make_unsigned(model.graph)
        _quantize_biases(model.graph)
    _drop_unused(model.graph)
    users = _users(model.graph)
    return dict(sorted(Counter(users[name][0].op_type for name in stored).items()))


def without_rounding(model: Any) -> Any:
    """A copy of an ONNX `model` that leaves every value as it is where `model` rounds it."""
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    rounded = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        _rename(graph, node.output[0], rounded[node.input[0]])
        graph.node.remove(node)
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        graph.node.remove(node)
    return copied


def _keep_constants(graph: Any) -> None:
    """`Constant` nodes of scales and zero points become initializers, which all readers of Q/DQ look for."""
    wanted = {name for node in graph.node if node.op_type.endswith("tizeLinear") for name in node.input[1:]}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] in wanted]:
        (value,) = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        value.name = node.output[0]
        graph.initializer.append(value)
        graph.node.remove(node)


def _store_weights(graph: Any) -> list[str]:
    """Round each quantized initializer once; returns the names of what dequantizes them."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    stored = []
    for node in [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants]:
        (back,) = _users(graph)[node.output[0]]
        weights, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        axis = _axis(node)
        steps = scale.reshape([-1 if place == axis else 1 for place in range(weights.ndim)]) if scale.ndim else scale
        rounded = np.clip(np.rint(weights / steps), -128, 127).astype(np.int8)
        user = _users(graph)[back.output[0]][0]
        if user.op_type == "Transpose":  # of a matrix: its product reads it the other way round
            rounded, axis = np.ascontiguousarray(rounded.T), 1 - axis
            _rename(graph, user.output[0], back.output[0])
            graph.node.remove(user)
        name = f"{node.input[0]}.int8"
        graph.initializer.append(numpy_helper.from_array(rounded, name))
        back.input[0] = name
        del back.attribute[:]
        if scale.ndim:
            back.attribute.append(helper.make_attribute("axis", axis))
        graph.node.remove(node)
        stored.append(back.output[0])
    return stored


def _make_unsigned(graph: Any) -> None:
    """Move the zero point of signed activations from 0 to 128."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        if numpy_helper.to_array(constants[node.input[2]]).dtype != np.int8:
            continue
        name = f"{node.output[0]}.zero"
        graph.initializer.append(numpy_helper.from_array(np.array(128, dtype=np.uint8), name))
        for user in (node, *_users(graph)[node.output[0]]):
            user.input[2] = name


def _quantize_biases(graph: Any) -> None:
    """The bias of each convolution of two dequantized tensors, in steps of the product of their scales."""
    from onnx import helper, numpy_helper

    for node in [node for node in graph.node if node.op_type == "Conv" and len(node.input) > 2]:
        makers = {name: maker for maker in graph.node for name in maker.output}
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        inputs = [makers.get(name) for name in node.input[:2]]
        bias = constants.get(node.input[2])
        if bias is None or not all(maker is not None and maker.op_type == "DequantizeLinear" for maker in inputs):
            continue
        scales = [constants[maker.input[1]] for maker in inputs if maker is not None]
        steps = np.broadcast_to(scales[0] * scales[1], bias.shape).astype(np.float32)
        limit = np.iinfo(np.int32).max
        rounded = np.clip(np.rint(bias.astype(np.float64) / steps), -limit, limit).astype(np.int32)
        name = node.input[2]
        for array, suffix in ((rounded, "int32"), (np.array(steps), "scale"), (np.zeros_like(rounded), "zero")):
            graph.initializer.append(numpy_helper.from_array(array, f"{name}.{suffix}"))
        names = [f"{name}.{suffix}" for suffix in ("int32", "scale", "zero")]
        place = list(graph.node).index(node)
        graph.node.insert(place, helper.make_node("DequantizeLinear", names, [f"{name}.float"], axis=0))
        graph.node[place + 1].input[2] = f"{name}.float"


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _users(graph: Any) -> dict[str, list[Any]]:
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
