"""Weights alone in few bits: stored small, restored once, multiplied in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from compress_samples import Sample
from small_graphs import nodes_of, norm_then_products, rows_of, run, token_convolution, weights_of

from toolkit.artifact import load_artifact
from toolkit.compress.int8 import quantize_graph
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.predictor import Predictor
from toolkit.spec import Array


def _relative(expected: Array, found: Array) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("build", [norm_then_products, token_convolution])
def test_8_bits_are_a_quarter_and_near(build) -> None:  # type: ignore[no-untyped-def]
    model = build()
    rows = rows_of(model, 32)
    made = quantize_graph(model, Scheme("weights"))
    assert len(made.model) < 0.34 * len(model)
    assert _relative(run(model, rows), run(made.model, rows)) < 0.02
    assert not nodes_of(made.model, "QuantizeLinear"), "activations stay float"


def test_the_runtime_restores_them_once(tmp_path: Path) -> None:
    """What the docstring promises: no Cast is left in the graph that the session runs."""
    made = quantize_graph(norm_then_products(), Scheme("weights")).model
    assert len(nodes_of(made, "Cast")) == 3
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "ran.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    assert not nodes_of((tmp_path / "ran.onnx").read_bytes(), "Cast")


def test_4_bits_are_blocks_of_products_and_the_rest_has_8() -> None:
    model = norm_then_products()
    rows = rows_of(model, 32)
    made = quantize_graph(model, Scheme("weights", bits=4))
    assert made.int4 == {"MatMul": 2}
    assert made.int8 == {"Gemm": 1}
    assert len(nodes_of(made.model, "MatMulNBits")) == 2
    assert "first.weight" not in weights_of(made.model)
    assert _relative(run(model, rows), run(made.model, rows)) < 0.15
    assert len(made.model) < len(quantize_graph(model, Scheme("weights")).model)


@pytest.mark.parametrize("bits", [8, 4])
def test_an_artifact_says_what_it_buys_and_does_not_depend_on_the_batch(
    transformer: Sample, tmp_path: Path, bits: int
) -> None:
    made = quantize(transformer.artifact, tmp_path, Scheme("weights", bits=bits))
    settings = made.core.steps[-1].settings
    assert settings["buys"] == "size, not time, on a CPU"
    assert settings["bits"] == bits
    assert made.core.precision == f"int{bits}"
    assert load_artifact(tmp_path).core.precision == f"int{bits}"
    assert settings["int8"]["embedding table"] == 1
    assert settings[f"int{bits}"]["MatMul"] == 12
    assert not made.depends_on_batch
    assert made.size_bytes < 0.5 * transformer.artifact.size_bytes
    rows = transformer.data.split("test").examples
    with Predictor.load(transformer.artifact) as fp32, Predictor.load(made) as small:
        assert (fp32.logits(rows).argmax(1) == small.logits(rows).argmax(1)).mean() > (0.97 if bits == 8 else 0.9)


def test_a_recurrent_net_keeps_both_of_its_weights_small(lstm: Sample, tmp_path: Path) -> None:
    made = quantize(lstm.artifact, tmp_path, Scheme("weights"))
    assert made.core.steps[-1].settings["int8"]["LSTM"] == 1
    assert made.files["model.onnx"]["bytes"] < 0.34 * lstm.artifact.files["model.onnx"]["bytes"]
    rows = lstm.data.split("test").examples
    with Predictor.load(lstm.artifact) as fp32, Predictor.load(made) as small:
        assert (fp32.logits(rows).argmax(1) == small.logits(rows).argmax(1)).mean() > 0.97
