"""Operators: which ones TensorRT's parser lacks, and which forms of those that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from toolkit.export.lint.arrays import STANDARD
from toolkit.export.lint.graph import Graph, Remark, attribute, input_of, name_of
from toolkit.graph_policy import OPERATORS

OPSETS = (9, 25)
# of the operators that an artifact may hold (`toolkit.graph_policy`), those that the parser lacks; none names Swish
REFUSED = frozenset(
    ("BitShift", "Compress", "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
     "Swish")
)  # fmt: skip
# operator -> the input that must be known when the engine is built
BUILD_TIME = {"CumSum": 1, "OneHot": 1, "Squeeze": 1, "Unsqueeze": 1} | {
    f"Reduce{kind}": 1 for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}
# operator -> attributes and the only value that is taken
ONLY: dict[str, dict[str, Any]] = {
    "LSTM": {"layout": 0, "input_forget": 0}, "GRU": {"layout": 0}, "RNN": {"layout": 0},
    "ScatterND": {"reduction": b"none"},
}  # fmt: skip
POOLS = ("AveragePool", "MaxPool", "LpPool")


def check_opset(graph: Graph) -> Iterator[Remark]:
    """The version of ONNX that the file is written in."""
    low, high = OPSETS
    for given in graph.model.opset_import:
        if given.domain in STANDARD and not low <= given.version <= high:
            words = f"opset {given.version} is outside {low} to {high}; export it again"
            yield Remark("opset", "the file", words)


def check_operator(graph: Graph, node: Any) -> Iterator[Remark]:
    """Is this operator one that the parser has, in this form?"""
    if node.domain not in STANDARD:
        words = (
            f"{node.domain}:{node.op_type} is ONNX Runtime's own; serve this artifact there, or make one for "
            "TensorRT: toolkit quantize --target tensorrt"
        )
        yield Remark("operator", name_of(node), words)
    elif node.op_type in REFUSED or node.op_type.encode() not in OPERATORS:
        words = f"TensorRT's parser has no {node.op_type}; ONNX Runtime runs it: serve this artifact there"
        yield Remark("operator", name_of(node), words)
    else:
        for problem in _problems(graph, node):
            yield Remark("operator", name_of(node), f"{node.op_type}: {problem}")


def _problems(graph: Graph, node: Any) -> Iterator[str]:
    for name, wanted in ONLY.get(node.op_type, {}).items():
        found = attribute(node, name, wanted)
        if found != wanted:
            yield f"{name} is {_say(found)}, only {_say(wanted)} is taken"
    place = BUILD_TIME.get(node.op_type)
    if place is not None and input_of(node, place) and graph.constant(node.input[place]) is None:
        yield f"its input {node.input[place]} is computed, and must be a constant of the file"
    for check in FORMS.get(node.op_type, ()):
        yield from check(node)


def _check_activations(node: Any) -> Iterator[str]:
    given = attribute(node, "activations", [])
    half = len(given) // 2
    if attribute(node, "direction", b"forward") == b"bidirectional" and given[:half] != given[half:]:
        yield "the two directions have different activations, and must have the same"


def _check_pool(node: Any) -> Iterator[str]:
    sizes = attribute(node, "kernel_shape", [])
    if len(sizes) not in (2, 3):
        yield f"it pools over {len(sizes)} axes, only 2 or 3 are taken"
    if any(step != 1 for step in attribute(node, "dilations", [])):
        yield "dilations must all be 1"
    if len([name for name in node.output if name]) > 1:
        yield "its second output, the indices, is not taken"


def _check_norm(node: Any) -> Iterator[str]:
    if any(node.output[1:]):
        yield "only its first output is taken"


def _say(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


FORMS: dict[str, tuple[Callable[[Any], Iterator[str]], ...]] = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (_check_activations,)),
    **dict.fromkeys(POOLS, (_check_pool,)),
    "LayerNormalization": (_check_norm,),
}
