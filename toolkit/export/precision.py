"""Half precision by casts in the graph: weights stored in 16 bits, what sums or divides still done in 32.

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

from toolkit.errors import InputError, RecipeError, require

# operators that add many numbers up, divide by a sum, or grow beyond the range of fp16
FLOAT_OPERATORS = (
    "Softmax", "LogSoftmax", "LayerNormalization", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp",
    "GlobalAveragePool", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "CumSum", "TopK", "Range", "Resize",
)  # fmt: skip


def to_fp16(model: bytes, *, keep_float: Sequence[str] = ()) -> bytes:
    """The ONNX `model` with its weights and most of its arithmetic in fp16; inputs and outputs keep their types.

    `keep_float` names nodes that stay float32 beside `FLOAT_OPERATORS`. Raises `RecipeError` for a name that no
    node has, `InputError` for a graph without float weights to store smaller.
    """
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
            graph, keep_io_types=True, op_block_list=list(FLOAT_OPERATORS), node_block_list=list(keep_float)
        )
    finally:
        logger.setLevel(level)
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in made.graph.initializer):
        raise InputError("nothing to store in fp16: the graph has no float weights outside norms")
    wrapper.ONNXModel(made).topological_sort()  # its casts stand at the end
    onnx.checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content
