"""In how many bits the operators of a quantized ONNX graph really are, read from the graph itself.

A quantizer may leave an operator in float without a word, so what was asked for is no evidence. An operator is
in 8 bits when it is an integer kernel, or when its weights, and outside of mode weights what they are multiplied
with, come out of DequantizeLinear; stored as integers and turned back by Cast and Mul counts for mode weights.
Limit: operators are found again by the names that ONNX Runtime's quantizers derive from those they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FLOAT = 32
# kernels that take weights of few bits -> how many
KERNELS = {"MatMulInteger": 8, "ConvInteger": 8, "DynamicQuantizeLSTM": 8, "QLinearMatMul": 8, "MatMulNBits": 4}
LOOKUP = "GatherBlockQuantized"  # says itself how many
# what is appended to a node's name where it becomes an integer kernel, a product and a sum, or a lookup in few bits
SUFFIXES = ("_quant", "_Q4", "_MatMul", "/int8", "/int4")


def measure_bits(graph: Any, types: Mapping[str, str], weights: Mapping[str, int], *, mode: str) -> dict[str, int]:
    """Bits of each node of the fp32 graph, by its name: 4, 8 or `FLOAT`.

    `types` has the operator of each of its nodes, `weights` which input of an operator holds weights; an operator
    without weights is in 8 bits where all its inputs are. A node that was merged into another one is missing.
    """
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    makers = {output: node for node in graph.graph.node for output in node.output}
    found = {}
    for node in graph.graph.node:
        name = _origin(node.name, types)
        if name not in types:
            continue
        if node.op_type in KERNELS:
            found[name] = KERNELS[node.op_type]
            continue
        if node.op_type == LOOKUP:
            found[name] = next(int(attribute.i) for attribute in node.attribute if attribute.name == "bits")
            continue
        position = 0 if node.op_type == "Gather" else weights.get(types[name])
        if position is None:
            read = list(node.input)
        elif mode == "static" and node.op_type != "Gather":
            read = [node.input[0], node.input[position]]
        else:
            read = [node.input[position]]
        found[name] = max((_bits(one, stored, makers) for one in read), default=FLOAT)
    return found


def _origin(name: str, types: Mapping[str, str]) -> str:
    for suffix in SUFFIXES:
        if name in types:
            break
        name = name.removesuffix(suffix)
    return name


def _bits(name: str, stored: Mapping[str, Any], makers: Mapping[str, Any]) -> int:
    """Of one value: what DequantizeLinear gives, or int8 in the file, directly or through Cast and Mul."""
    from onnx import TensorProto

    while name not in stored:
        maker = makers.get(name)
        if maker is None or maker.op_type not in ("DequantizeLinear", "Cast", "Mul"):
            return FLOAT
        if maker.op_type == "DequantizeLinear":
            return 8
        name = maker.input[0]
    return 8 if stored[name].data_type in (TensorProto.INT8, TensorProto.UINT8) else FLOAT
