"""Small cuts in an ONNX graph that leave its answers alone. Each changes the model that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import require


def drop_identities(model: Any) -> None:
    """Wire the users of an `Identity` of an initializer to the initializer.

    The TorchScript exporter puts one where two weights are equal, and quantizers look for weights themselves.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    renamed = {}
    for node in list(graph.node):
        if node.op_type == "Identity" and node.input[0] in constants and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
            graph.node.remove(node)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in renamed:
                node.input[position] = renamed[name]


def shorten_table(model: Any, name: str, rows: int) -> None:
    """Leave the first `rows` rows of the initializer `name`, where it has more: what no input reaches is no weight."""
    numpy_helper = require("onnx.numpy_helper", extra="train")
    for tensor in model.graph.initializer:
        if tensor.name == name and tensor.dims[0] > rows:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:rows].copy(), name))


def zero_input(model: Any, name: str, *, like: str) -> None:
    """Take the int64 input `name` away and compute it as zeros of the shape of the input `like`."""
    helper, numpy_helper = require("onnx.helper", extra="train"), require("onnx.numpy_helper", extra="train")
    graph = model.graph
    (taken,) = [declared for declared in graph.input if declared.name == name]
    graph.input.remove(taken)
    shape = f"{name}.shape"
    zero = numpy_helper.from_array(np.zeros(1, dtype=np.int64), f"{name}.zero")
    graph.node.insert(0, helper.make_node("Shape", [like], [shape]))
    graph.node.insert(1, helper.make_node("ConstantOfShape", [shape], [name], value=zero))


def rename_input(model: Any, old: str, new: str) -> None:
    """Call the input `old` by the name `new`."""
    for declared in model.graph.input:
        if declared.name == old:
            declared.name = new
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def keep_output(model: Any, name: str) -> None:
    """Leave `name` as the graph's only output."""
    for output in [output for output in model.graph.output if output.name != name]:
        model.graph.output.remove(output)
