"""Trained to stand INT8: the graph it leaves, its parity, its kernels."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compress_samples import Sample, short_recipe
from onnx import numpy_helper

from toolkit.artifact import Artifact
from toolkit.compress import quantize as quantize_module
from toolkit.compress.folded_cnn import FoldedCnn
from toolkit.compress.quantize_aware import EDGE, Aware, aware_recipe, compare_rounded, quantize_aware
from toolkit.compress.teachers import digest_of_weights
from toolkit.data.loading import load_data
from toolkit.errors import DataError, InputError, ParityError, RecipeError
from toolkit.export.lint import is_for_tensorrt, lint_artifact
from toolkit.machine import describe_machine
from toolkit.predictor import Predictor
from toolkit.train.recipes import default_recipe


def _aware(sample: Sample, path: Path, name: str = "aware", **settings: Any) -> Aware:
    kind = sample.classifier.net.kind
    (path / name).mkdir()
    recipe = short_recipe(kind, learning_rate=default_recipe(kind).learning_rate / 10)
    return quantize_aware(sample.classifier, sample.data, path / name, **{"recipe": recipe, "epochs": 1, **settings})


def _kernels(artifact: Artifact, path: Path) -> Counter[str]:
    """What ONNX Runtime runs on this processor: the operators of its optimized graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path / "optimized.onnx"), 4
    ort.InferenceSession(artifact.read("model.onnx"), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path / "optimized.onnx").graph.node)


def _constants(artifact: Artifact) -> dict[str, Any]:
    model = onnx.load_from_string(artifact.read("model.onnx"))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _agreement(sample: Sample, artifact: Artifact) -> float:
    examples = sample.data.split("test").examples
    with Predictor.load(sample.artifact) as fp32, Predictor.load(artifact) as int8:
        return float((fp32.logits(examples).argmax(1) == int8.logits(examples).argmax(1)).mean())


def test_a_cnn_leaves_with_every_convolution_in_int8(cnn: Sample, tmp_path: Path) -> None:
    before = digest_of_weights(cnn.classifier.net)
    made = _aware(cnn, tmp_path)
    assert digest_of_weights(cnn.classifier.net) == before
    core = made.artifact.core
    assert [step.name for step in core.steps] == ["train", "quantize_aware", "export"]
    settings = core.steps[1].settings
    assert (settings["target"], settings["epochs"], settings["rows"]) == ("cpu", 1, 256)
    assert settings["int8"] == {"Conv": 9}
    assert (core.precision, core.parent) == ("int8", cnn.classifier.parent)
    assert made.fitted.epochs_run == 1
    assert made.parity.passed()
    assert made.median_rounded <= EDGE
    kernels = _kernels(made.artifact, tmp_path)
    assert (kernels["QLinearConv"], kernels["QLinearAdd"], kernels["Conv"], kernels["QuantizeLinear"]) == (9, 3, 0, 1)
    assert made.artifact.files["model.onnx"]["bytes"] < 0.3 * cnn.artifact.files["model.onnx"]["bytes"]
    assert _agreement(cnn, made.artifact) > 0.95


def test_a_transformer_leaves_with_its_products_and_table_in_int8(transformer: Sample, tmp_path: Path) -> None:
    made = _aware(transformer, tmp_path)
    assert made.artifact.core.steps[-2].settings["int8"] == {"MatMul": 12, "embedding table": 1}
    assert made.parity.passed()
    assert len(made.parity.shapes) == 12, "batch 1, 2, 7 and 32 at three lengths"
    assert made.median_rounded <= EDGE
    assert _kernels(made.artifact, tmp_path)["MatMulIntegerToFloat"] == 12
    assert made.artifact.files["model.onnx"]["bytes"] < 0.4 * transformer.artifact.files["model.onnx"]["bytes"]
    assert not made.artifact.depends_on_batch
    assert _agreement(transformer, made.artifact) > 0.9


def test_without_epochs_it_is_calibrated_only(cnn: Sample, tmp_path: Path) -> None:
    made = _aware(cnn, tmp_path, epochs=0)
    assert made.fitted.epochs_run == 0
    assert made.artifact.core.steps[1].settings["recipe"] is None
    trained = _aware(cnn, tmp_path, "trained")
    weights, learned = (_constants(artifact)["stem.weight.int8"] for artifact in (made.artifact, trained.artifact))
    assert weights.shape == learned.shape
    assert not np.array_equal(weights, learned)
    assert np.abs(weights.astype(int) - learned.astype(int)).max() < 32, "it gets used to rounding, no more"


def test_the_same_seed_gives_the_same_file(cnn: Sample, tmp_path: Path) -> None:
    assert _aware(cnn, tmp_path, "a").artifact.digest == _aware(cnn, tmp_path, "b").artifact.digest


def test_tensorrt_gets_symmetric_signed_values_only(transformer: Sample, cnn: Sample, tmp_path: Path) -> None:
    for sample in (transformer, cnn):
        made = _aware(sample, tmp_path, sample.classifier.net.kind, target="tensorrt", epochs=0)
        model = onnx.load_from_string(made.artifact.read("model.onnx"))
        constants = _constants(made.artifact)
        points = [constants[n.input[2]] for n in model.graph.node if n.op_type.endswith("tizeLinear")]
        assert points
        assert {point.dtype for point in points} == {np.dtype(np.int8)}
        assert not any(point.any() for point in points)
        assert not any(name.endswith(("tokens.weight.int8", "int32")) for name in constants)
        assert made.median_rounded < 1e-4, "nothing but roundings was added"
        assert is_for_tensorrt(made.artifact)
        assert not any(remark.refused for remark in lint_artifact(made.artifact))


def test_weights_keep_to_7_bits_where_8_bit_sums_saturate(
    cnn: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(describe_machine(), system="Linux x86_64", flags=("avx2",))
    monkeypatch.setattr(quantize_module, "describe_machine", lambda: old)
    made = _aware(cnn, tmp_path)
    assert made.artifact.core.steps[1].settings["weight_bits"] == 7
    weights = [array for array in _constants(made.artifact).values() if array.dtype == np.int8 and array.ndim > 1]
    assert len(weights) == 9
    assert all(np.abs(array.astype(int)).max() <= 64 for array in weights)
    assert made.median_rounded <= EDGE


def test_a_folded_cnn_answers_as_the_cnn(cnn: Sample) -> None:
    pictures = cnn.classifier.encoder.encode(cnn.data.split("test").examples[:20])
    folded = FoldedCnn(cnn.classifier.net)
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    apart = np.abs(replace(cnn.classifier, net=folded).run(pictures) - cnn.classifier.run(pictures)).max()
    assert apart < 1e-4
    before = digest_of_weights(cnn.classifier.net)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert digest_of_weights(cnn.classifier.net) == before


def test_another_net_than_the_graph_is_found_out(cnn: Sample, tmp_path: Path) -> None:
    made = _aware(cnn, tmp_path, epochs=0)
    sample = cnn.classifier.encoder.encode(cnn.data.split("validation").examples[:16])
    other = FoldedCnn(cnn.classifier.net)
    with torch.no_grad():
        other.stem.weight.mul_(1.5)
    with pytest.raises(ParityError, match=r"half of the rows of the INT8 graph differ from its net by .* or more"):
        compare_rounded(replace(cnn.classifier, net=other), made.artifact.read("model.onnx"), sample)


def test_a_net_that_cannot_is_refused_by_name(lstm: Sample, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a net of kind lstm cannot be trained in INT8; allowed: transformer, cnn"):
        quantize_aware(lstm.classifier, lstm.data, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "gpu"}, "target is 'gpu'; allowed: cpu, tensorrt"),
        ({"epochs": -1}, "epochs is -1; allowed: 0 or more"),
        ({"rows": 0}, "rows is 0; allowed: 1 or more"),
    ],
)
def test_bad_settings_are_refused(cnn: Sample, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        quantize_aware(cnn.classifier, cnn.data, tmp_path, **settings)


def test_another_split_is_refused(cnn: Sample, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split by seed 5"):
        quantize_aware(cnn.classifier, load_data("digits", seed=5), tmp_path)


def test_the_recipe_goes_ten_times_slower() -> None:
    recipe = aware_recipe("transformer")
    assert (recipe.learning_rate, recipe.precision) == (default_recipe("transformer").learning_rate / 10, "fp32")
