"""Q/DQ for TensorRT in 8 bits, the rest in fp16: its form, its answers, and what stays out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from compress.small_graphs import CLASSES, WIDTH, norm_then_products
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_classifiers import PICTURES, make_classifier

from toolkit.compress.calibration import measure_ranges
from toolkit.compress.explicit import KINDS, find_products, quantize_explicitly
from toolkit.compress.int8 import prepare_graph
from toolkit.errors import InputError
from toolkit.export.lint import lint
from toolkit.export.onnx import export
from toolkit.runners.cuda import CudaRunner
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Input, Spec

SPEC = Spec("image", (Input("x", "float32", ("batch", WIDTH)),), tuple(map(str, range(CLASSES * 8))))
ROWS = np.random.default_rng(1).normal(size=(64, WIDTH)).astype(np.float32)


def run(model: bytes) -> Array:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"x": ROWS})[0]
    return found


def make(kind: str, nodes: list[str] | None = None) -> tuple[bytes, bytes]:
    """The fp32 model and its form in `kind`; ranges are those of `ROWS`."""
    whole = norm_then_products()
    graph = prepare_graph(whole)
    products = find_products(graph) if nodes is None else nodes
    wanted = sorted({node.input[0] for node in graph.graph.node if node.name in products})
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name != "x")
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip([one.name for one in session.get_outputs()], session.run(None, {"x": ROWS}), strict=True))
    largest = {name: float(np.abs(found[name]).max()) for name in wanted}
    return whole, quantize_explicitly(graph, largest, kind, nodes=products)


@pytest.mark.parametrize("kind", KINDS)
def test_products_have_pairs_and_answers_are_near(kind: str) -> None:
    whole, made = make(kind)
    graph = onnx.load_from_string(made).graph
    makers = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.name in ("first", "second", "last")]
    assert len(products) == 3
    for node in products:
        assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
    expected, found = run(whole), run(made)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_tensorrt_is_found_to_refuse_nothing(kind: str) -> None:
    _, made = make(kind)
    assert [remark for remark in lint(made, SPEC) if remark.refused] == []


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_stored_in_8_bits_and_scales_in_the_type_around_them(kind: str) -> None:
    whole, made = make(kind)
    tensors = {tensor.name: tensor for tensor in onnx.load_from_string(made).graph.initializer}
    stored = TensorProto.INT8 if kind == "int8" else TensorProto.FLOAT8E4M3FN
    weights = [tensor for name, tensor in tensors.items() if name.endswith(f".{kind}")]
    assert len(weights) == 3
    assert all(tensor.data_type == stored for tensor in weights)
    assert not any(name in tensors for name in ("first.weight", "second.weight")), "the float form is gone"
    scales = [tensor for name, tensor in tensors.items() if name.endswith(".scale")]
    assert scales
    assert all(tensor.data_type == TensorProto.FLOAT16 for tensor in scales)
    zeros = [
        numpy_helper.to_array(tensor).astype(np.float32) for name, tensor in tensors.items() if name.endswith(".zero")
    ]
    assert zeros
    assert all(not zero.any() for zero in zeros)
    assert len(made) < 0.45 * len(whole)


def test_int8_has_a_scale_for_each_output_and_fp8_one() -> None:
    for kind, sizes in (("int8", {(128,), (CLASSES * 8,)}), ("fp8", {()})):
        graph = onnx.load_from_string(make(kind)[1]).graph
        stored = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
        scales = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        assert {scales[scale] for name, scale in stored.items() if name.endswith(f".{kind}")} == sizes


def test_products_that_read_one_tensor_share_its_pair() -> None:
    graph = onnx.load_from_string(make("int8")[1]).graph
    inputs = {node.name: node.input[0] for node in graph.node}
    assert inputs["first"] == inputs["second"]


def test_what_is_not_named_stays_in_half_precision() -> None:
    graph = onnx.load_from_string(make("fp8", ["first"])[1]).graph
    tensors = {tensor.name: tensor.data_type for tensor in graph.initializer}
    (second,) = [node for node in graph.node if node.name == "second"]
    assert tensors[second.input[1]] == TensorProto.FLOAT16


def test_nothing_to_quantize_is_said() -> None:
    with pytest.raises(InputError, match="build it in fp16"):
        quantize_explicitly(prepare_graph(norm_then_products()), {}, "int8", nodes=[])


@pytest.mark.parametrize("kind", KINDS)
def test_a_convolution_with_a_bias_is_run_as_it_is_written(kind: str, tmp_path: Path) -> None:
    """An optimizer of ONNX Runtime counts biases in steps that overflow fp16: that is left out."""
    classifier = make_classifier("cnn")
    exported, _ = export(classifier, tmp_path / "onnx", examples=PICTURES)
    graph = prepare_graph(exported.read("model.onnx"))
    biases = {node.input[2] for node in graph.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    for tensor in [tensor for tensor in graph.graph.initializer if tensor.name in biases]:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 300, tensor.name))
    arrays = classifier.encoder.encode(PICTURES)
    ranges = measure_ranges(graph, [arrays], ["Conv", "Gemm"], method="minmax")
    largest = {name: float(np.abs(np.concatenate([np.ravel(v) for v in ranges[name].range_value])).max())
               for name in ranges.keys()}  # noqa: SIM118  # fmt: skip
    made = quantize_explicitly(graph, largest, kind, nodes=find_products(graph))
    biased = [node for node in onnx.load_from_string(made).graph.node if node.op_type == "Conv" and len(node.input) > 2]
    assert biased
    written = np.asarray(ReferenceEvaluator(onnx.load_from_string(made)).run(None, dict(arrays))[0], dtype=np.float32)
    with (
        OnnxRunner(made) as runner,
        OnnxRunner(made, optimized=False) as plain,
        CudaRunner(made, device="cpu") as bound,
    ):
        expected = plain.run(arrays)
        scale = np.abs(expected).max()
        assert np.abs(written - expected).max() < 0.05 * scale
        assert np.abs(runner.run(arrays) - expected).max() < 0.02 * scale
        assert np.abs(bound.run(arrays) - expected).max() < 0.02 * scale
