"""2:4 sparsity: of every four weights that are summed together the two smallest become 0.

NVIDIA's tensor cores since Ampere skip the zeros of exactly this pattern, so a product may take half the time; whether
it does is for TensorRT to try (`--sparse`) and for a benchmark to show. Cut without training, as here, a model
loses accuracy, which the gate of `build` judges.
Source: Mishra et al. 2021, Accelerating Sparse Deep Neural Networks (arXiv:2104.08378).
"""

from __future__ import annotations

import numpy as np

from toolkit.compress.explicit import find_products, output_axis
from toolkit.errors import InputError, require
from toolkit.spec import Array

GROUP, KEPT = 4, 2


def cut_two_four(model: bytes) -> tuple[bytes, dict[str, int]]:
    """The fp32 ONNX `model` with the pattern in every product it fits, and how many products that are of which kind.

    Raises `InputError` when it fits none: what is summed must come in fours.
    """
    onnx = require("onnx", extra="train")
    graph = onnx.load_from_string(model)
    for position, node in enumerate(graph.graph.node):
        node.name = node.name or f"{node.op_type}_{position}"
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    products, cut = set(find_products(graph)), dict[str, int]()
    for node in graph.graph.node:
        if node.name not in products:
            continue
        tensor = tensors[node.input[1]]
        weights = onnx.numpy_helper.to_array(tensor)
        axis = 1 if node.op_type == "Conv" else 1 - output_axis(node, 2) if weights.ndim == 2 else weights.ndim - 2
        if weights.shape[axis] % GROUP:
            continue
        tensor.CopyFrom(onnx.numpy_helper.from_array(keep_two_of_four(weights, axis), tensor.name))
        cut[node.op_type] = cut.get(node.op_type, 0) + 1
    if not cut:
        raise InputError("no product of this graph sums a multiple of four weights; build it without --sparse")
    content: bytes = graph.SerializeToString()
    return content, dict(sorted(cut.items()))


def keep_two_of_four(weights: Array, axis: int) -> Array:
    """`weights` with the two smallest of each four along `axis` set to 0; ties keep the first."""
    moved = np.moveaxis(weights, axis, -1)
    groups = moved.reshape(*moved.shape[:-1], -1, GROUP)
    order = np.argsort(-np.abs(groups), axis=-1, kind="stable")
    mask = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(mask, order[..., :KEPT], True, axis=-1)
    kept = np.where(mask, groups, 0).reshape(moved.shape)
    return np.ascontiguousarray(np.moveaxis(kept, -1, axis))
