"""Weights alone in 8 or 4 bits: they are stored small and every product is still done in float.

On a CPU this buys size and not time. In 8 bits a weight is int8 with one scale an output channel, and the
graph turns it back by Cast and Mul, which ONNX Runtime does once, when the session opens: then it runs as fp32
does, from as much memory as fp32. DequantizeLinear would stay: before a MatMul ONNX Runtime 1.32 makes it an 8-bit
`MatMulNBits`, before a Gemm it would run at every request. In 4 bits the products are `MatMulNBits`,
blocks of 32 weights with a scale and a zero point each, unpacked as they are used; what that operator does not
take (Gemm, LSTM, Conv) gets 8 bits.

Source: onnxruntime.quantization.matmul_nbits_quantizer; Dettmers and Zettlemoyer 2022 (arXiv:2212.09720) on 4 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.spec import Array

BLOCK = 32
# operator -> its inputs that are weights, and the axis of their output channels (Gemm: where B is not transposed)
WEIGHTS = {"MatMul": ((1,), -1), "Gemm": ((1,), 1), "Conv": ((1,), 0), "LSTM": ((1, 2), 1)}


def shrink_weights(graph: Any, nodes: Sequence[str], bits: int) -> Any:
    """The ONNX model `graph` with the weights of `nodes` in `bits`; `graph` itself may change."""
    chosen = [node for node in graph.graph.node if node.name in set(nodes)]
    if bits == 4:
        packed = {node.name for node in chosen if node.op_type == "MatMul" and _is_matrix(graph, node.input[1])}
        _store_int8(graph, [node for node in chosen if node.name not in packed])
        return _store_int4(graph, packed) if packed else graph
    _store_int8(graph, chosen)
    return graph


def _store_int8(graph: Any, nodes: Sequence[Any]) -> None:
    """In place: each weight as int8, its scales, and the Cast and Mul that give it back under a new name."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    done: dict[tuple[str, int], str] = {}
    added: list[Any] = []
    for node in nodes:
        positions, axis = WEIGHTS[node.op_type]
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            axis = 0
        for position in positions:
            name = node.input[position]
            if (name, axis) not in done:
                rows, scales = _round(numpy_helper.to_array(weights[name]), axis)
                out = f"{name}.restored.{axis % rows.ndim}"
                graph.graph.initializer.append(numpy_helper.from_array(rows, f"{out}.int8"))
                graph.graph.initializer.append(numpy_helper.from_array(scales, f"{out}.scale"))
                cast = {"name": f"{out}/Cast", "to": TensorProto.FLOAT}
                added.append(helper.make_node("Cast", [f"{out}.int8"], [f"{out}.float"], **cast))
                added.append(helper.make_node("Mul", [f"{out}.float", f"{out}.scale"], [out], name=f"{out}/Mul"))
                done[name, axis] = out
            node.input[position] = done[name, axis]
    for position, node in enumerate(added):
        graph.graph.node.insert(position, node)
    read = {name for node in graph.graph.node for name in node.input}
    for name, _ in done:
        if name not in read and weights[name] in graph.graph.initializer:
            graph.graph.initializer.remove(weights[name])


def _round(values: Array, axis: int) -> tuple[Array, Array]:
    """Int8 values of the same shape, and float32 scales that broadcast over them."""
    others = tuple(position for position in range(values.ndim) if position != axis % values.ndim)
    scales = np.maximum(np.abs(values).max(axis=others, keepdims=True), np.float32(1e-8)) / np.float32(127)
    return np.rint(values / scales).astype(np.int8), scales.astype(np.float32)


def _store_int4(graph: Any, names: set[str]) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    others = [node.name for node in graph.graph.node if node.op_type == "MatMul" and node.name not in names]
    quantizer = MatMulNBitsQuantizer(
        graph, bits=4, block_size=BLOCK, is_symmetric=False, nodes_to_exclude=others, op_types_to_quantize=("MatMul",)
    )
    quantizer.process()
    return quantizer.model.model


def _is_matrix(graph: Any, name: str) -> bool:
    return any(tensor.name == name and len(tensor.dims) == 2 for tensor in graph.graph.initializer)
