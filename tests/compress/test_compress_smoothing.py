"""Outliers moved into weights: the same answers in float, better ones in 8 bits, and what the step says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from compress_samples import Sample
from onnx import helper
from small_graphs import (
    declare,
    model_of,
    nodes_of,
    norm_then_products,
    rows_of,
    run,
    token_convolution,
    weights_of,
)

from toolkit.compress.int8 import prepare_graph, quantize_graph
from toolkit.compress.operators import find_nodes
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.compress.smoothing import Smoothed, smooth_products
from toolkit.errors import InputError
from toolkit.predictor import Predictor


def _smooth(model: bytes, batches: list[dict[str, np.ndarray]], alpha: float = 0.5) -> tuple[Smoothed, bytes]:
    graph = prepare_graph(model)
    found = smooth_products(graph, find_nodes(graph, "static"), batches, alpha)
    onnx.checker.check_model(graph)
    return found, graph.SerializeToString()


def test_fp32_answers_stay_and_the_norm_takes_the_division() -> None:
    model = norm_then_products()
    rows = rows_of(model, 64)
    found, smoothed = _smooth(model, [rows])
    assert found == Smoothed(folded=1, multiplied=1), "two products share the norm's scale; Relu cannot take one"
    assert len(nodes_of(smoothed, "Mul")) == 1
    expected = run(model, rows)
    assert np.abs(run(smoothed, rows) - expected).max() < 1e-5 * np.abs(expected).max()
    assert weights_of(smoothed)["norm.smoothed.1"][3] < weights_of(model)["gain"][3] / 3, "the outlier shrank"


def test_alpha_moves_outliers_by_that_much() -> None:
    """alpha 1 leaves every channel of the activation with the largest value 1."""
    model = norm_then_products()
    rows = rows_of(model, 64)
    _, smoothed = _smooth(model, [rows], alpha=1.0)
    graph = onnx.load_from_string(smoothed)
    graph.graph.output.append(declare("normed", ["n", 64]))
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (normed,) = session.run(["normed"], rows)
    assert np.abs(normed).max(axis=0) == pytest.approx(np.ones(64), rel=1e-4)


def test_a_norm_that_something_else_reads_keeps_its_values() -> None:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain"], ["normed"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normed", "w"], ["a"], name="product"),
        helper.make_node("Add", ["a", "normed"], ["out"], name="residual"),
    ]
    weights = {"gain": 1 + random.normal(size=64), "w": random.normal(size=(64, 64))}
    model = model_of(nodes, [declare("x", ["n", 64])], [declare("out", ["n", 64])], weights)
    rows = rows_of(model, 32)
    found, smoothed = _smooth(model, [rows])
    assert found == Smoothed(folded=0, multiplied=1)
    assert np.array_equal(weights_of(smoothed)["gain"], weights_of(model)["gain"])
    assert np.abs(run(smoothed, rows) - run(model, rows)).max() < 1e-4


def test_smoothing_helps_where_a_channel_is_an_outlier() -> None:
    model = norm_then_products()
    rows, others = rows_of(model, 64), rows_of(model, 64, seed=1)
    expected = run(model, others)
    errors = [
        float(((run(quantize_graph(model, scheme, batches=[rows]).model, others) - expected) ** 2).mean())
        for scheme in (Scheme(), Scheme(smooth=0.5))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_channel_that_is_never_used_divides_by_nothing() -> None:
    model = norm_then_products()
    graph = onnx.load_from_string(model)
    for tensor in graph.graph.initializer:
        if tensor.name in ("gain", "shift"):
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[7] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    silent = graph.SerializeToString()
    rows = rows_of(silent, 16)
    _, smoothed = _smooth(silent, [rows])
    assert np.isfinite(run(smoothed, rows)).all()


def test_the_step_says_what_was_smoothed(transformer: Sample, tmp_path: Path) -> None:
    train = transformer.data.split("train")
    made = quantize(transformer.artifact, tmp_path, Scheme(smooth=0.5, rows=64), calibration=train)
    settings = made.core.steps[-1].settings
    assert settings["smooth"] == 0.5
    assert settings["smoothed"] == {"folded": 0, "multiplied": 12}
    rows = transformer.data.split("test").examples
    with Predictor.load(transformer.artifact) as fp32, Predictor.load(made) as int8:
        assert (fp32.logits(rows).argmax(1) == int8.logits(rows).argmax(1)).mean() > 0.9


def test_a_graph_without_products_has_nothing_to_smooth() -> None:
    model = token_convolution()
    with pytest.raises(InputError, match="nothing to smooth: no matrix product of this graph is quantized"):
        quantize_graph(model, Scheme("static", smooth=0.5), batches=[rows_of(model, 8)])
