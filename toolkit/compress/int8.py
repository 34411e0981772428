"""From an fp32 ONNX graph to one whose weights, and what is multiplied with them, have 8 bits.

What is quantized is `OPERATORS`, by name of the node. Weights are signed with one scale a channel. For a CPU
activations are unsigned with a zero point; for TensorRT they are signed and symmetric, biases stay float and so do
embedding tables, and nothing is converted behind a product (`scheme`). Softmax, norms, and the products of two
activations in attention stay in float: quantizing those products (static, TREC, MiniLM) saved no time in
interleaved runs (1.72 and 1.76 ms) and changed 1.5 % of the answers instead of 0.9 %. For a CPU the graph is then
rewritten in its kernels (`cpu_kernels`); onnxruntime.transformers, which does that too, does not match our graph.

Source: Jacob et al. 2017 (arXiv:1712.05877); onnxruntime.quantization.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.compress.calibration import measure_ranges
from toolkit.compress.cpu_kernels import use_cpu_kernels
from toolkit.compress.operators import OPERATORS, find_nodes, say_why_none
from toolkit.compress.scheme import Scheme
from toolkit.compress.smoothing import Smoothed, smooth_products
from toolkit.compress.stored_bits import FLOAT, measure_bits
from toolkit.compress.tables import SMALLEST, SMALLEST_FOR_SIZE, find_tables, quantize_tables
from toolkit.compress.weights import shrink_weights
from toolkit.errors import InputError, RecipeError
from toolkit.progress import Progress, silent
from toolkit.spec import Array


class NothingToQuantizeError(InputError):
    """A graph without anything that a mode could store in few bits: its float form is the small one already."""


@dataclass(frozen=True)
class Prepared:
    """A folded fp32 graph (an ONNX model) with named nodes, and what was measured on it; `apply` leaves it alone."""

    graph: Any
    ranges: Any
    smoothed: Smoothed | None


@dataclass(frozen=True)
class Quantized:
    """The model as bytes; how many operators of which type are in 8 bits, in 4, and in float, as found in it."""

    model: bytes
    int8: Mapping[str, int] = field(default_factory=dict)
    int4: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    smoothed: Smoothed | None = None


def quantize_graph(
    model: bytes,
    scheme: Scheme,
    *,
    batches: Sequence[Mapping[str, Array]] = (),
    reduce_range: bool = False,
    progress: Progress = silent,
) -> Quantized:
    """Quantize an fp32 ONNX `model`; ranges and outliers are measured on `batches`, arrays of training rows.

    Raises `InputError` for a graph without anything to quantize in this mode, `RecipeError` for a node to keep
    in float that is none of those that would be quantized.
    """
    prepared = prepare(model, scheme, batches=batches, progress=progress)
    return apply(prepared, scheme, reduce_range=reduce_range)


def prepare(
    model: bytes, scheme: Scheme, *, batches: Sequence[Mapping[str, Array]] = (), progress: Progress = silent
) -> Prepared:
    """Fold, name, smooth and measure once; many graphs that differ in what stays float are then made from it."""
    graph = prepare_graph(model)
    nodes = find_nodes(graph, scheme.mode, target=scheme.target)
    known = (*nodes, *_tables(graph, scheme))
    if not known:
        raise NothingToQuantizeError(f"nothing to quantize: {say_why_none(graph, scheme.mode)}")
    if unknown := sorted(set(scheme.keep_float) - set(known)):
        raise RecipeError(
            f"keep_float names {unknown[0]!r}, which mode {scheme.mode} does not quantize; it does: {', '.join(known)}"
        )
    smoothed = None
    if scheme.smooth is not None:
        smoothed = smooth_products(graph, nodes, batches, scheme.smooth)
    ranges = None
    if scheme.mode == "static" and nodes:
        operators = _types(graph, nodes)
        ranges = measure_ranges(graph, batches, operators, method=scheme.method, progress=progress)
    return Prepared(graph, ranges, smoothed)


def apply(prepared: Prepared, scheme: Scheme, *, reduce_range: bool = False) -> Quantized:
    """Quantize what `scheme` does not keep in float.

    Raises `InputError` when that leaves nothing, or when an operator stayed float that should not have.
    """
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(prepared.graph)
    nodes = find_nodes(graph, scheme.mode, target=scheme.target, keep_float=scheme.keep_float)
    tables = [name for name in _tables(graph, scheme) if name not in scheme.keep_float]
    if not nodes and not tables:
        raise InputError("nothing to quantize: keep_float names every operator; keep the fp32 artifact instead")
    types = {node.name: node.op_type for node in graph.graph.node}
    if not nodes:
        result = graph
    elif scheme.mode == "weights":
        result = shrink_weights(graph, nodes, scheme.bits)
    elif scheme.mode == "dynamic":
        result = _dynamic(graph, nodes, reduce_range=reduce_range)
    else:
        result = _static(graph, nodes, prepared.ranges, target=scheme.target, reduce_range=reduce_range)
    if tables:
        quantize_tables(result, keep_float=scheme.keep_float, smallest=_smallest_table(scheme), bits=scheme.table_bits)
    counted = _count(result, types, nodes, tables, scheme.mode)
    if scheme.target == "cpu" and scheme.mode in ("dynamic", "static"):
        use_cpu_kernels(result, nodes)
    onnx.checker.check_model(result)
    model: bytes = result.SerializeToString()
    return Quantized(model, *counted, prepared.smoothed)


def _count(
    result: Any, types: Mapping[str, str], nodes: Sequence[str], tables: Sequence[str], mode: str
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """How many operators of which type are in 8 bits, in 4, and in float; refuses one that was to be in few."""
    found = measure_bits(result, types, {kind: rule.weights for kind, rule in OPERATORS.items()}, mode=mode)
    for name in (*nodes, *tables):
        if found.get(name, FLOAT) == FLOAT and types[name] in (*OPERATORS, "Gather"):
            raise InputError(
                f"mode {mode} cannot quantize {types[name]} {name!r}, it stayed float; "
                "name it in keep_float, or take another mode"
            )
    kinds = {**types, **dict.fromkeys(tables, "embedding table")}
    asked = set(nodes) | set(tables)
    few = {bits: Counter(kinds[name] for name in asked if found.get(name) == bits) for bits in (8, 4)}
    left = Counter(kind for name, kind in types.items() if kind in OPERATORS and name not in asked)
    int8, int4, kept = (dict(sorted(counted.items())) for counted in (few[8], few[4], left))
    return int8, int4, kept


def prepare_graph(model: bytes) -> Any:
    """The ONNX model with constants and batch norms folded, shapes inferred, every node with a name."""
    import onnx
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "fp32.onnx"
        # shapes by ONNX, which no loop confuses
        quant_pre_process(onnx.load_from_string(model), path, skip_symbolic_shape=True)
        graph = load_model_with_shape_infer(path)
    for position, node in enumerate(graph.graph.node):
        # nodes are chosen by the names that they had before a product took its bias in
        node.name = node.name.removesuffix("/MatMulAddFusion") or f"{node.op_type}_{position}"
    return graph


def _tables(graph: Any, scheme: Scheme) -> list[str]:
    """Lookups whose table becomes int8; TensorRT takes int8 from Q/DQ pairs only, there they stay float."""
    if scheme.target != "cpu":
        return []
    return [node.name for node in find_tables(graph, smallest=_smallest_table(scheme))]


def _smallest_table(scheme: Scheme) -> int:
    return SMALLEST_FOR_SIZE if scheme.mode == "weights" else SMALLEST


def _types(graph: Any, nodes: Sequence[str]) -> list[str]:
    return sorted({node.op_type for node in graph.graph.node if node.name in set(nodes)})


def _dynamic(graph: Any, nodes: list[str], *, reduce_range: bool) -> Any:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # a Gemm is first made a MatMul and an Add, and the MatMul is looked for under its own name
    products = [f"{node.name}_MatMul" for node in graph.graph.node if node.op_type == "Gemm" and node.name in nodes]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "int8.onnx"
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
            nodes_to_quantize=[*nodes, *products],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


def _static(graph: Any, nodes: list[str], ranges: Any, *, target: str, reduce_range: bool) -> Any:
    """Q/DQ around `nodes`; the result of a matrix product stays float, since norms and softmax come next."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    operators = _types(graph, nodes)
    if target == "tensorrt":
        activations = QuantType.QInt8
        options = {
            "OpTypesToExcludeOutputQuantization": operators,
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "DedicatedQDQPair": True,
        }
    else:
        activations = QuantType.QUInt8
        options = {"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]}
    # the public quantize_static runs all rows through one histogram, which takes rows of one length only
    quantizer = QDQQuantizer(
        graph,
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=activations,
        tensors_range=ranges,
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=operators,
        extra_options=options,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model
