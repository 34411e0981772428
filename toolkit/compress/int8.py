"""From an fp32 ONNX graph to one whose weights, and what is multiplied with them, have 8 bits.

What is quantized is `OPERATORS`. Weights are signed with one scale a channel; activations are unsigned with
a zero point, which is what CPU kernels like. Softmax, norms, and the products of two activations in
attention stay in float: quantizing those products (static, TREC, MiniLM) saved no time in interleaved runs
(1.72 and 1.76 ms) and changed 1.5 % of the answers instead of 0.9 %. The graph is not fused first
(onnxruntime.transformers): the session fuses what matters when it opens, and dynamic INT8 took 1.5 to 1.6 ms
plain, 1.6 to 1.8 with skip layer norm fused; the fused attention does not match our graph.

Source: Jacob et al. 2017 (arXiv:1712.05877); onnxruntime.quantization.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.compress.calibration import measure_ranges
from toolkit.compress.tables import find_tables, quantize_tables
from toolkit.errors import InputError
from toolkit.progress import Progress, silent
from toolkit.spec import Array

MODES = ("dynamic", "static")


@dataclass(frozen=True)
class Operator:
    """An operator that holds weights: which input they are, in which modes it pays, from how many values on."""

    weights: int
    modes: tuple[str, ...]
    smallest: int = 0


# a product with few weights has nothing to win, and the last one of a classifier decides: it stays float
OPERATORS = {
    "MatMul": Operator(1, MODES, smallest=4096),
    "Gemm": Operator(1, MODES, smallest=4096),
    "LSTM": Operator(1, ("dynamic",)),
    "Conv": Operator(1, ("static",)),  # ConvInteger, its dynamic form, is slower than float
}
# between static convolutions these run in 8 bits too, or each convolution would convert there and back
BETWEEN_CONVOLUTIONS = ("Relu", "Add", "MaxPool", "GlobalAveragePool")


@dataclass(frozen=True)
class Quantized:
    """The model as bytes; how many operators of which type are in 8 bits, and how many of `OPERATORS` in float."""

    model: bytes
    int8: Mapping[str, int]
    left: Mapping[str, int]


def quantize_graph(
    model: bytes,
    *,
    mode: str,
    batches: Sequence[Mapping[str, Array]] = (),
    method: str = "minmax",
    reduce_range: bool = False,
    progress: Progress = silent,
) -> Quantized:
    """Quantize an fp32 ONNX `model`; static mode measures ranges on `batches` by `method`.

    Raises `InputError` for a graph without anything to quantize in this mode.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        # folds constants, and batch norms into convolutions; shapes by ONNX, which no loop confuses
        quant_pre_process(onnx.load_from_string(model), before, skip_symbolic_shape=True)
        graph = onnx.load(before)
        for position, node in enumerate(graph.graph.node):
            node.name = node.name or f"{node.op_type}_{position}"  # nodes are chosen by name
        onnx.save(graph, before)
        nodes, tables = find_nodes(graph, mode), find_tables(graph)
        if not nodes and not tables:
            raise InputError(f"nothing to quantize: {_reason(graph, mode)}")
        types = {node.name: node.op_type for node in graph.graph.node}
        operators = sorted({types[name] for name in nodes})
        if not nodes:
            onnx.save(graph, after)
        elif mode == "dynamic":
            _dynamic(before, after, nodes, reduce_range=reduce_range)
        else:
            ranges = measure_ranges(before, batches, operators, method=method, progress=progress)
            _static(before, after, nodes, operators, ranges=ranges, reduce_range=reduce_range)
        result = onnx.load(after)
    quantize_tables(result)
    onnx.checker.check_model(result)
    int8 = Counter(types[name] for name in nodes)
    left = Counter(kind for name, kind in types.items() if kind in OPERATORS and name not in set(nodes))
    if tables:
        int8["embedding table"] = len({node.input[0] for node in tables})
    return Quantized(result.SerializeToString(), dict(sorted(int8.items())), dict(sorted(left.items())))


def find_nodes(model: Any, mode: str) -> list[str]:
    """Names of the nodes of an ONNX `model` that `mode` quantizes, by `OPERATORS`."""
    sizes = {weights.name: int(np.prod(weights.dims)) for weights in model.graph.initializer}
    found = [
        node.name
        for node in model.graph.node
        if (rule := OPERATORS.get(node.op_type)) is not None
        and mode in rule.modes
        and sizes.get(node.input[rule.weights], -1) >= rule.smallest
    ]
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    if convolutions & set(found):
        found += [node.name for node in model.graph.node if node.op_type in BETWEEN_CONVOLUTIONS]
    return found


def _dynamic(before: Path, after: Path, nodes: list[str], *, reduce_range: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        before,
        after,
        op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
        nodes_to_quantize=nodes,
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
    )


def _static(
    before: Path, after: Path, nodes: list[str], operators: list[str], *, ranges: Any, reduce_range: bool
) -> None:
    """Q/DQ around `nodes`; the result of a matrix product stays float, since norms and softmax come next."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    # the public quantize_static runs all rows through one histogram, which takes rows of one length only
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(before),
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=operators,
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(after))


def _reason(model: Any, mode: str) -> str:
    able = ", ".join(kind for kind, rule in OPERATORS.items() if mode in rule.modes)
    other = next(other for other in MODES if other != mode)
    hint = f"; mode {other} can" if find_nodes(model, other) else ""
    return f"mode {mode} takes {able} with their weights in the file, and large embedding tables{hint}"
