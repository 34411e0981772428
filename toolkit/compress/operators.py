"""Which operators of an ONNX graph are worth 8 bits, in which mode, for which target.

A product with few weights has nothing to win; convolutions with dynamic scales are slower than in float; what stands
between two convolutions in 8 bits runs in 8 bits too, or each would convert there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.compress.tables import SMALLEST_FOR_SIZE

MODES = ("dynamic", "static", "weights")


@dataclass(frozen=True)
class Operator:
    """An operator that holds weights: which input they are, in which modes it pays, from how many values on."""

    weights: int
    modes: tuple[str, ...]
    smallest: int = 0


# a product with few weights has nothing to win, and the last one of a classifier decides: it stays float; where size
# is all that is asked, a smaller one has (`SMALLEST_FOR_SIZE`)
OPERATORS = {
    "MatMul": Operator(1, MODES, smallest=4096),
    "Gemm": Operator(1, MODES, smallest=4096),
    "LSTM": Operator(1, ("dynamic", "weights")),
    "Conv": Operator(1, ("static", "weights")),  # ConvInteger, its dynamic form, is slower than float
}
# behind static convolutions these run in 8 bits too, or each convolution would convert there and back;
# TensorRT fuses Relu into the convolution before it, which a conversion between the two would forbid
BETWEEN_CONVOLUTIONS = {
    "cpu": ("Relu", "Add", "MaxPool", "GlobalAveragePool"),
    "tensorrt": ("Add", "GlobalAveragePool"),
}


def find_nodes(graph: Any, mode: str, *, target: str = "cpu", keep_float: Sequence[str] = ()) -> list[str]:
    """Names of the nodes of an ONNX model that `mode` quantizes, by `OPERATORS`, in their order."""
    sizes = {weights.name: int(np.prod(weights.dims)) for weights in graph.graph.initializer}
    inside: set[str] = set()  # what comes out of convolutions in 8 bits, directly or through what is between them
    found = []
    for node in graph.graph.node:
        if node.name in keep_float:
            continue
        rule = OPERATORS.get(node.op_type)
        smallest = 0 if rule is None else min(rule.smallest, SMALLEST_FOR_SIZE if mode == "weights" else rule.smallest)
        if rule is not None and mode in rule.modes and sizes.get(node.input[rule.weights], -1) >= smallest:
            found.append(node.name)
            inside |= set(node.output) if node.op_type == "Conv" and mode == "static" else set()
        elif node.op_type in BETWEEN_CONVOLUTIONS["cpu"] and set(node.input) <= inside:
            inside |= set(node.output)
            found += [node.name] if node.op_type in BETWEEN_CONVOLUTIONS[target] else []
    return found


def say_why_none(graph: Any, mode: str) -> str:
    """Why `mode` finds nothing in a graph: what it takes, and which mode could."""
    able = ", ".join(kind for kind, rule in OPERATORS.items() if mode in rule.modes)
    others = [other for other in MODES if other != mode and find_nodes(graph, other)]
    hint = f"; mode {others[0]} can" if others else ""
    return f"mode {mode} takes {able} with their weights in the file, and large embedding tables{hint}"
