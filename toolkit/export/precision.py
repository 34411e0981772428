"""Half precision by casts in the graph: weights stored in 16 bits, what sums or divides still done in 32.

Two forms of 16 bits: fp16 rounds to 10 bits and ends at 65,504; bf16 rounds to 7 and ends where float32 does.

The graph is strongly typed, as TensorRT 11 asks: every tensor has the type that it says, nothing is left to a
flag. Norms, softmax, means and sums stay in float, since 65,504 is the largest number of fp16 and a sum of
squares passes it. The arrays of a request and the logits stay what they were.
On a CPU it buys size and not time: ONNX Runtime has few fp16 kernels there and casts back to float, so it is
the form for a GPU. Weights below 6e-8 or above 65,504 are moved to those bounds.

Source: Micikevicius et al. 2017, mixed precision (arXiv:1710.03740); onnxruntime.transformers.float16.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from toolkit.errors import InputError, RecipeError, require

# operators that add many numbers up, divide by a sum, or grow beyond the range of fp16
FLOAT_OPERATORS = (
    "Softmax", "LogSoftmax", "LayerNormalization", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp",
    "GlobalAveragePool", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "CumSum", "TopK", "Range", "Resize",
)  # fmt: skip


# since which operator set a convolution may be of bfloat16
BF16_OPSET = 22


def to_fp16(
    model: bytes, *, keep_float: Sequence[str] = (), float_operators: Sequence[str] = FLOAT_OPERATORS,
    stored: bool = True,
) -> bytes:  # fmt: skip
    """The ONNX `model` with its weights and most of its arithmetic in fp16; inputs and outputs keep their types.

    `keep_float` names nodes that stay float32 beside all of `float_operators`. Raises `RecipeError` for a name that
    no node has, and if something must be `stored` smaller, `InputError` for a graph without float weights.
    """
    onnx = require("onnx", extra="train")
    made = _to_half(model, keep_float, float_operators, stored=stored)
    onnx.checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content


def to_bf16(model: bytes, *, keep_float: Sequence[str] = ()) -> bytes:
    """The same in bf16; weights are rounded from float32, so none is moved to a bound. Raises as `to_fp16`."""
    onnx = require("onnx", extra="train")
    ml_dtypes = require("ml_dtypes", extra="train")
    graph = onnx.load_from_string(model)
    if graph.opset_import[0].version < BF16_OPSET:
        graph = onnx.version_converter.convert_version(graph, BF16_OPSET)
    whole = {tensor.name: tensor for tensor in graph.graph.initializer}
    made = _to_half(graph.SerializeToString(), keep_float, FLOAT_OPERATORS)
    half, brain = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16

    def turn(tensor: Any) -> None:
        source = whole.get(tensor.name, tensor)
        values = onnx.numpy_helper.to_array(source).astype("float32").astype(ml_dtypes.bfloat16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    for tensor in made.graph.initializer:
        if tensor.data_type == half:
            turn(tensor)
    for node in made.graph.node:
        for given in node.attribute:
            if node.op_type == "Cast" and given.name == "to" and given.i == half:
                given.i = brain
            elif given.type == onnx.AttributeProto.TENSOR and given.t.data_type == half:
                turn(given.t)
    for value in made.graph.value_info:
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = brain
    onnx.checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content


def _to_half(model: bytes, keep_float: Sequence[str], float_operators: Sequence[str], *, stored: bool = True) -> Any:
    """An ONNX model in fp16, not checked yet."""
    onnx = require("onnx", extra="train")
    float16 = require("onnxruntime.transformers.float16", extra="train")
    wrapper = require("onnxruntime.quantization.onnx_model", extra="train")
    graph = onnx.load_from_string(model)
    for position, node in enumerate(graph.graph.node):
        node.name = node.name or f"{node.op_type}_{position}"
    names = [node.name for node in graph.graph.node]
    if unknown := sorted(set(keep_float) - set(names)):
        raise RecipeError(f"keep_float names {unknown[0]!r}; no node of this graph has that name")
    logger = logging.getLogger("onnxruntime.transformers.float16")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it lists each weight that it moves to a bound
    try:
        made = float16.convert_float_to_float16(
            graph, keep_io_types=True, op_block_list=list(float_operators), node_block_list=list(keep_float)
        )
    finally:
        logger.setLevel(level)
    if stored and not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in made.graph.initializer):
        raise InputError("nothing to store in fp16: the graph has no float weights outside norms")
    _drop_repeated_casts(made.graph)
    wrapper.ONNXModel(made).topological_sort()  # its casts stand at the end
    return made


def _drop_repeated_casts(graph: Any) -> None:
    """The converter writes the cast of a value once for each of several nodes that read it in float."""
    seen: set[tuple[str, str]] = set()
    for node in [node for node in graph.node if node.op_type == "Cast"]:
        cast = (node.input[0], node.output[0])
        if cast in seen:
            graph.node.remove(node)
        seen.add(cast)
