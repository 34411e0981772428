"""What TensorRT 11 refuses in an ONNX graph, and what costs there: read off the file, so no GPU is needed.

| rule     | refused                                                                    |
|----------|----------------------------------------------------------------------------|
| opset    | outside 9 to 25                                                             |
| operator | one that its parser lacks, or in a form that it lacks                       |
| unsigned, asymmetric, scale | Q/DQ other than signed, around zero, with scales that stand in the file |
| axis     | one scale a channel, along another axis than the product's output, or of an activation |
| bias     | Q/DQ on a bias                                                              |
| type     | arrays of a type it lacks, or of 8 bits outside Q/DQ                        |
| profile  | an axis that varies and that nothing bounds, so that no profile can be made |

It also tells what is taken and costs: inputs in 64 bits, doubles, Q/DQ between a convolution and its Relu.
Limit: read from documents, not asked of TensorRT itself, which may refuse more. Source: NVIDIA TensorRT
11, "Explicit Quantization", "ONNX Opset Guide"; onnx-tensorrt, "Supported ONNX Operators".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from toolkit.artifact import Artifact
from toolkit.errors import InputError, require
from toolkit.export.lint.arrays import check_axes, check_types
from toolkit.export.lint.graph import Graph, Remark
from toolkit.export.lint.operators import check_operator, check_opset
from toolkit.export.lint.quantization import check_quantization
from toolkit.spec import Spec

__all__ = ["Remark", "describe_remarks", "is_for_tensorrt", "lint", "lint_artifact"]

NODE_RULES = (check_operator, check_quantization)


def lint(model: bytes, spec: Spec) -> tuple[Remark, ...]:
    """What TensorRT 11 would say of an ONNX `model` with the inputs of `spec`: refusals first, in order of the graph.

    Raises `InputError` for bytes that are no ONNX model, `MissingExtra` without the package onnx.
    """
    onnx = require("onnx", extra="train")
    try:
        graph = Graph(onnx.load_from_string(model))
    except Exception as error:  # protobuf's own, which differ by version
        raise InputError(f"this is no ONNX model: {error}; export it again") from None
    remarks = [*check_opset(graph), *check_axes(graph, spec), *check_types(graph)]
    for node in graph.nodes:
        for rule in NODE_RULES:
            remarks += rule(graph, node)
    return tuple(sorted(remarks, key=lambda remark: not remark.refused))  # a stable sort keeps the graph's order


def lint_artifact(artifact: Artifact) -> tuple[Remark, ...]:
    """`lint` of an ONNX artifact, or of both members of a cascade, whose names then stand before each place.

    Raises `InputError` for an artifact that holds no ONNX model.
    """
    if artifact.members:
        return tuple(
            replace(remark, where=f"{name}: {remark.where}")
            for name, member in artifact.members.items()
            for remark in lint_artifact(member)
        )
    if artifact.core.format != "onnx":
        raise InputError(f"{artifact.folder} is {artifact.core.format}; TensorRT reads ONNX: toolkit export it first")
    return lint(artifact.read(artifact.core.models[0]), artifact.spec)


def is_for_tensorrt(artifact: Artifact) -> bool:
    """True when a step of its making was asked to make a graph for TensorRT."""
    made = any(step.settings.get("target") == "tensorrt" for step in artifact.core.steps)
    return made or any(is_for_tensorrt(member) for member in artifact.members.values())


def describe_remarks(remarks: Sequence[Remark]) -> str:
    """One line: that nothing was found, or how many refusals of which rule; and what costs."""
    refused, costs = (
        Counter(remark.rule for remark in remarks if remark.refused is wanted) for wanted in (True, False)
    )
    words = (
        f"TensorRT 11 would refuse this graph ({_count(refused)})"
        if refused
        else "nothing found that TensorRT 11 refuses"
    )
    return f"{words}; taken, at a cost: {_count(costs)}" if costs else words


def _count(rules: Counter[str]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in rules.items())
