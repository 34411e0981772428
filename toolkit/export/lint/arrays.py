"""Types and sizes: what TensorRT can hold, and which axes it can be given a profile for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.export.lint.graph import Graph, Remark
from toolkit.spec import Spec

TYPES = ("FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "BOOL")
QUANTIZED = ("INT8", "INT4", "FLOAT8E4M3FN", "FLOAT4E2M1")  # behind QuantizeLinear, before DequantizeLinear
AT_THE_EDGE = ("UINT8",)  # as an input or an output
CLAMPED = ("DOUBLE",)
PAIRS = ("QuantizeLinear", "DequantizeLinear")
STANDARD = ("", "ai.onnx")


def check_axes(graph: Graph, spec: Spec) -> Iterator[Remark]:
    """Inputs with an axis that varies without bounds; inputs in 64 bits, which are copied at twice the size."""
    declared = {known.name: known.shape for known in spec.inputs}
    for given in graph.model.graph.input:
        if given.name in graph.tensors:
            continue  # old files list their weights among the inputs
        tensor = given.type.tensor_type
        for place, axis in enumerate(tensor.shape.dim):
            if axis.HasField("dim_value") and axis.dim_value > 0:
                continue
            shape = declared.get(given.name, ())
            size = shape[place] if place < len(shape) else None
            if not isinstance(size, int) and size != "batch" and size not in spec.limits:
                what = axis.dim_param or f"number {place}"
                yield Remark(
                    "profile", given.name,
                    f"its axis {what} varies and the artifact states no limits for it; a profile needs both ends",
                )  # fmt: skip
        if _word(tensor.elem_type) == "INT64":
            words = "an input in 64 bits is copied to the GPU at twice the size of INT32"
            yield Remark("int64", given.name, words, refused=False)


def check_types(graph: Graph) -> Iterator[Remark]:
    """Constants, casts and inputs of a type that TensorRT lacks, clamps, or takes in Q/DQ only."""
    for name, tensor in graph.tensors.items():
        users = graph.users(name)
        if users and all(user.op_type in PAIRS or user.domain not in STANDARD for user in users):
            continue  # pairs have rules of their own, and other kernels are refused with all that they hold
        yield from _check_type(tensor.data_type, name)
    for given in graph.model.graph.input:
        yield from _check_type(given.type.tensor_type.elem_type, given.name, edge=True)
    for node in graph.nodes:
        for given in node.attribute:
            if node.op_type == "Cast" and given.name == "to":
                # a picture's own bytes are cast right behind the input, which is where they may be
                yield from _check_type(given.i, node.name or node.output[0])


def _check_type(kind: int, where: str, *, edge: bool = False) -> Iterator[Remark]:
    word = _word(kind)
    if word in CLAMPED:
        yield Remark("type", where, f"{word} is computed as FLOAT, clamped to its range", refused=False)
    elif word in QUANTIZED:
        yield Remark("type", where, f"{word} is taken between QuantizeLinear and DequantizeLinear only")
    elif word not in TYPES and not (edge and word in AT_THE_EDGE):
        allowed = ", ".join(TYPES)
        yield Remark("type", where, f"{word} is no type of TensorRT's; it takes {allowed}, and UINT8 as an input")


def _word(kind: int) -> str:
    from onnx import TensorProto

    word: Any = TensorProto.DataType.Name(kind)
    return str(word)
