"""What is rewritten for the CPU answers as before, and only what matches is rewritten."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from small_classifiers import examples_of, make_classifier
from small_graphs import WIDTH, declare, model_of

from toolkit.compress.cpu_kernels import use_cpu_kernels
from toolkit.compress.int8 import prepare_graph, quantize_graph
from toolkit.compress.operators import find_nodes
from toolkit.compress.scheme import Scheme
from toolkit.export.onnx import trace
from toolkit.export.shapes import encode_some, traced_arrays
from toolkit.spec import Array

ROWS = [{"x": np.random.default_rng(1).normal(size=(16, 2, WIDTH)).astype(np.float32)}]


def _operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _run(model: Any, feed: dict[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, feed)[0]
    return result


def _transformer() -> tuple[Any, dict[str, Array]]:
    """A small transformer as an ONNX model, and rows of it, some padded."""
    classifier = make_classifier("transformer", width=64, head_width=16, feed_forward=(128, 256, 128))
    arrays = encode_some(classifier.encoder, examples_of("transformer"))
    model = onnx.load_from_string(trace(classifier, traced_arrays(classifier.spec, arrays)))
    feed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    feed["attention_mask"][0, -1] = 0
    feed["attention_mask"][1, 1:] = 0
    return model, feed


def test_attention_becomes_one_kernel_that_minds_the_mask() -> None:
    model, feed = _transformer()
    expected, layers = _run(model, feed), _operators(model)["Softmax"]
    assert use_cpu_kernels(model) == {"product": 0, "attention": layers}
    found = _operators(model)
    assert (found["MultiHeadAttention"], found["Softmax"], found["Transpose"]) == (layers, 0, 0)
    np.testing.assert_allclose(_run(model, feed), expected, rtol=1e-4, atol=1e-5)
    feed["attention_mask"][0, -1] = 1
    assert np.abs(_run(model, feed)[0] - expected[0]).max() > 1e-4, "the mask was not looked at"


@pytest.mark.parametrize(("part", "left"), [("scale", 1), ("mask", 3)])
def test_attention_of_another_form_is_left_alone(part: str, left: int) -> None:
    model, feed = _transformer()
    layers = _operators(model)["Softmax"]
    makers = {name: node for node in model.graph.node for name in node.output}
    add = makers[next(node for node in model.graph.node if node.op_type == "Softmax").input[0]]
    if part == "scale":  # one for each head
        scale = makers[makers[add.input[0]].input[1]].attribute[0].t
        scale.CopyFrom(numpy_helper.from_array(np.array([2, 3, 4, 5], dtype=np.float32).reshape(1, 4, 1, 1)))
    else:  # the mask of all layers is not a number times what is padding
        makers[makers[add.input[1]].input[0]].op_type = "Pow"
    expected = _run(model, feed)
    assert use_cpu_kernels(model)["attention"] == layers - left
    np.testing.assert_allclose(_run(model, feed), expected, rtol=1e-4, atol=1e-5)


def test_a_product_takes_its_bias_in_and_answers_as_before() -> None:
    model, feed = _transformer()
    scheme = Scheme(mode="static", target="tensorrt")  # the same pairs, not rewritten
    plain = onnx.load_from_string(quantize_graph(model.SerializeToString(), scheme, batches=[feed]).model)
    expected = _run(plain, feed)
    products = sum(node.op_type == "MatMul" for node in plain.graph.node)
    fused = use_cpu_kernels(plain)
    assert fused["product"] == len(find_nodes(prepare_graph(model.SerializeToString()), "static")) > 0
    assert _operators(plain)["MatMulIntegerToFloat"] == fused["product"]
    assert products > fused["product"], "products of two activations were there and are gone"
    np.testing.assert_allclose(_run(plain, feed), expected, rtol=1e-3, atol=1e-3)


def test_a_residual_reads_the_value_before_it_was_rounded() -> None:
    random = np.random.default_rng(0)
    weights = {"gain": np.ones(WIDTH), "shift": np.zeros(WIDTH), "square": random.normal(size=(WIDTH, WIDTH)) / 8}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["normed"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normed", "square"], ["product"], name="product"),
        helper.make_node("Add", ["normed", "product"], ["logits"], name="residual"),
    ]
    plain = model_of(nodes, [declare("x", ["n", 2, WIDTH])], [declare("logits", ["n", 2, WIDTH])], weights)
    expected = _run(plain, ROWS[0])
    errors = {}
    for target in ("cpu", "tensorrt"):
        content = quantize_graph(plain, Scheme(mode="static", target=target), batches=ROWS).model
        made = onnx.load_from_string(content)
        residual = next(node for node in made.graph.node if node.name == "residual")
        assert ("normed" in residual.input) is (target == "cpu")
        errors[target] = np.abs(_run(content, ROWS[0]) - expected).mean()
    assert errors["cpu"] < errors["tensorrt"]


def test_what_reads_a_convolution_goes_on_reading_its_rounded_value() -> None:
    classifier = make_classifier("textcnn")
    arrays = encode_some(classifier.encoder, examples_of("textcnn"))
    plain = trace(classifier, traced_arrays(classifier.spec, arrays))
    made = onnx.load_from_string(quantize_graph(plain, Scheme(mode="static"), batches=[dict(arrays)]).model)
    convolved = {name for node in made.graph.node if node.op_type == "Conv" for name in node.output}
    readers = [node.op_type for node in made.graph.node if convolved & set(node.input)]
    assert set(readers) == {"QuantizeLinear"}


def test_a_graph_for_tensorrt_keeps_standard_operators_only() -> None:
    model, feed = _transformer()
    for mode, target, expected in (("static", "cpu", True), ("dynamic", "cpu", True), ("static", "tensorrt", False)):
        made = quantize_graph(model.SerializeToString(), Scheme(mode=mode, target=target), batches=[feed])
        found = onnx.load_from_string(made.model)
        assert ("com.microsoft" in {node.domain for node in found.graph.node}) is expected, (mode, target)
