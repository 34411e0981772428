"""Q/DQ pairs: TensorRT takes signed values around zero, scales that stand in the file, and floats for biases.

A weight may have a scale for each channel of the product's output, an activation has one in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from toolkit.export.lint.arrays import PAIRS, QUANTIZED, STANDARD
from toolkit.export.lint.graph import Graph, Remark, attribute, input_of, name_of

BIASED = ("Conv", "ConvTranspose", "Gemm")  # the bias is their third input
TARGET = "make it with toolkit quantize --target tensorrt"


def check_quantization(graph: Graph, node: Any) -> Iterator[Remark]:
    """All rules on one `QuantizeLinear` or `DequantizeLinear`; nothing on other nodes."""
    if node.op_type not in PAIRS or node.domain not in STANDARD:
        return
    where = name_of(node)
    if _is_bias(graph, node):
        yield Remark("bias", where, f"a bias stays float, TensorRT adds it in the product; {TARGET}")
        return  # its 32 bits break the other rules too, and one remedy is for all
    yield from _check_zero(graph, node, where)
    scale = graph.constant(input_of(node, 1))
    if scale is None:
        yield Remark("scale", where, "its scale is computed, and must be a constant of the file")
    elif not (np.isfinite(scale.astype(np.float64)) & (scale.astype(np.float64) > 0)).all():
        yield Remark("scale", where, "a scale is not above 0; calibrate again")
    elif scale.size > 1 and not attribute(node, "block_size", 0):
        yield from _check_axis(graph, node, where)
    if _parts(graph, node):
        words = "Q/DQ between a convolution and its Relu keep the two from being fused"
        yield Remark("fusion", where, words, refused=False)


def _check_zero(graph: Graph, node: Any, where: str) -> Iterator[Remark]:
    from onnx import TensorProto

    name = input_of(node, 2)
    if not name:
        kind = attribute(node, "output_dtype", 0) if node.op_type == "QuantizeLinear" else _stored(graph, node)
        if node.op_type == "QuantizeLinear" and not kind:
            yield Remark("unsigned", where, f"without a zero point ONNX means UINT8; {TARGET}")
            return
    elif name not in graph.tensors:
        yield Remark("asymmetric", where, f"its zero point is computed, and must be 0; {TARGET}")
        return
    else:
        kind = graph.tensors[name].data_type
    word = TensorProto.DataType.Name(kind) if kind else ""
    if word and word not in QUANTIZED:
        rule = "unsigned" if word.startswith("UINT") else "type"
        yield Remark(rule, where, f"it makes {word}, and TensorRT takes {', '.join(QUANTIZED)}; {TARGET}")
    elif name and np.asarray(graph.constant(name)).astype(np.float32).any():
        yield Remark("asymmetric", where, f"its zero point is not 0; {TARGET}")


def _check_axis(graph: Graph, node: Any, where: str) -> Iterator[Remark]:
    rank = _rank_of_weight(graph, node)
    if rank is None:
        yield Remark("axis", where, f"an activation has one scale in all, not one a channel; {TARGET}")
        return
    axis = attribute(node, "axis", 1) % rank
    dequantized = node if node.op_type == "DequantizeLinear" else None
    for user in graph.users(node.output[0]):
        dequantized = dequantized or (user if user.op_type == "DequantizeLinear" else None)
    if dequantized is None:
        return
    for user, wanted in _products(graph, dequantized.output[0], rank):
        if axis != wanted:
            words = f"its scales lie along axis {axis} of the weights of {name_of(user)}; the output is axis {wanted}"
            yield Remark("axis", where, f"{words}; {TARGET}")


def _products(graph: Graph, name: str, rank: int) -> Iterator[tuple[Any, int]]:
    """The products that a weight goes into, with its axis that is their output; through a Transpose too."""
    for user in graph.users(name):
        if user.op_type == "Transpose" and user.domain in STANDARD:
            order = attribute(user, "perm", list(range(rank))[::-1])
            for product, axis in _products(graph, user.output[0], rank):
                yield product, order[axis]
        elif input_of(user, 1) != name:
            continue
        elif user.op_type == "Conv":
            yield user, 0
        elif user.op_type == "ConvTranspose":
            yield user, 1
        elif user.op_type == "Gemm":
            yield user, 0 if attribute(user, "transB", 0) else 1
        elif user.op_type == "MatMul":
            yield user, rank - 1


def _rank_of_weight(graph: Graph, node: Any) -> int | None:
    """Axes of the weight that a pair stores or rounds; None when it is an activation."""
    name = input_of(node, 0)
    maker = graph.maker(name)
    if name not in graph.tensors and maker is not None and maker.op_type == "QuantizeLinear":
        name = input_of(maker, 0)
    tensor = graph.tensors.get(name)
    return None if tensor is None else max(len(tensor.dims), 1)


def _stored(graph: Graph, node: Any) -> int:
    """Data type of the constant that a `DequantizeLinear` reads; 0 where it reads what is computed."""
    tensor = graph.tensors.get(input_of(node, 0))
    return 0 if tensor is None else int(tensor.data_type)


def _is_bias(graph: Graph, node: Any) -> bool:
    if node.op_type == "QuantizeLinear":
        backs = [user for user in graph.users(node.output[0]) if user.op_type == "DequantizeLinear"]
        return any(_is_bias(graph, back) for back in backs)
    return any(user.op_type in BIASED and input_of(user, 2) == node.output[0] for user in graph.users(node.output[0]))


def _parts(graph: Graph, node: Any) -> bool:
    """True of a `DequantizeLinear` that stands between a convolution and a Relu."""
    if node.op_type != "DequantizeLinear":
        return False
    rounded = graph.maker(input_of(node, 0))
    before = None if rounded is None else graph.maker(input_of(rounded, 0))
    behind = [user.op_type for user in graph.users(node.output[0])]
    return before is not None and before.op_type == "Conv" and "Relu" in behind
