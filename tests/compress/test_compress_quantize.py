"""Quantized after the door: dynamic and static, their lineage, golden and calibration rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compress_samples import Sample
from onnx import numpy_helper
from small_classifiers import TEXTS, make_classifier

from toolkit.artifact import Artifact, load_artifact
from toolkit.compress import quantize as module
from toolkit.compress.quantize import needs_reduced_range, quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Split
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.export.lint import is_for_tensorrt, lint_artifact
from toolkit.export.onnx import export
from toolkit.machine import describe_machine
from toolkit.predictor import Predictor
from toolkit.runners.onnx import OnnxRunner


def _folder(path: Path, name: str = "int8") -> Path:
    (path / name).mkdir()
    return path / name


def _operators(artifact: Artifact) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(artifact.read("model.onnx")).graph.node]


def _agreement(first: Artifact, second: Artifact, examples: list[Any]) -> float:
    with Predictor.load(first) as fp32, Predictor.load(second) as int8:
        return float((fp32.logits(examples).argmax(1) == int8.logits(examples).argmax(1)).mean())


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_a_static_transformer_is_smaller_and_agrees(transformer: Sample, tmp_path: Path, method: str) -> None:
    train = transformer.data.split("train")
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme(method=method, rows=64, seed=3), calibration=train)
    settings = made.core.steps[-1].settings
    assert made.core.steps[-1].name == "quantize"
    assert (settings["mode"], settings["method"], settings["rows"], settings["split"], settings["seed"]) == (
        "static", method, 64, "train", 3,
    )  # fmt: skip
    assert settings["int8"] == {"MatMul": 12, "embedding table": 1}
    assert settings["float"]["MatMul"] == 6, "products of two activations stay float"
    assert made.core.precision == "int8"
    assert made.core.parent == transformer.artifact.digest
    assert not made.depends_on_batch
    assert "QuantizeLinear" in _operators(made)
    model_bytes = made.files["model.onnx"]["bytes"], transformer.artifact.files["model.onnx"]["bytes"]
    assert model_bytes[0] < 0.45 * model_bytes[1]
    assert (
        _agreement(transformer.artifact, load_artifact(tmp_path / "int8"), transformer.data.split("test").examples)
        > 0.9
    )


def test_a_dynamic_transformer_is_judged_one_row_at_a_time(transformer: Sample, tmp_path: Path) -> None:
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme("dynamic"), name="small")
    assert made.depends_on_batch
    assert made.name == "small"
    assert "DynamicQuantizeLinear" in _operators(made)
    with Predictor.load(made) as predictor:
        assert predictor.batch_size == 1
    assert _agreement(transformer.artifact, made, transformer.data.split("test").examples) > 0.9


def test_golden_rows_are_the_models_own_with_a_wide_margin(transformer: Sample, tmp_path: Path) -> None:
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme("dynamic"))
    golden, parent = made.golden(), transformer.artifact.golden()
    assert 1 <= len(golden.logits) <= len(parent.logits)
    ordered = np.sort(golden.logits, axis=1)
    widest = (np.sort(parent.logits, axis=1)[:, -1] - np.sort(parent.logits, axis=1)[:, -2]).max()
    assert (ordered[:, -1] - ordered[:, -2]).min() > min(0.9, 0.5 * float(widest))
    assert not any(np.array_equal(row, other) for row in golden.logits for other in parent.logits)


def test_evidence_of_training_rows_travels_along_and_the_input_stays(transformer: Sample, tmp_path: Path) -> None:
    digest = transformer.artifact.digest
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme("dynamic"))
    learned, again = made.training_rows(), transformer.artifact.training_rows()
    assert learned is not None
    assert again is not None
    assert np.array_equal(learned, again)
    assert made.core.split == transformer.artifact.core.split
    assert load_artifact(transformer.artifact.folder).digest == digest
    transformer.artifact.verify()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_rows(transformer: Sample, tmp_path: Path) -> None:
    train = transformer.data.split("train")
    made = [
        quantize(transformer.artifact, _folder(tmp_path, str(run)), Scheme(rows=32, seed=seed), calibration=train)
        for run, seed in enumerate((0, 0, 1))
    ]
    assert made[0].digest == made[1].digest
    rows = [artifact.core.steps[-1].settings["rows_digest"] for artifact in made]
    assert rows[0] == rows[1] != rows[2]


def test_test_rows_are_refused(transformer: Sample, tmp_path: Path) -> None:
    test = transformer.data.split("test")
    for calibration in (test, test.take(range(40))):
        with pytest.raises(DataError, match=r"test rows of this model|none that this model was trained on"):
            quantize(transformer.artifact, _folder(tmp_path, str(len(calibration))), Scheme(), calibration=calibration)


def test_one_stranger_among_training_rows_is_refused_and_counted(transformer: Sample, tmp_path: Path) -> None:
    train = transformer.data.split("train").take(range(20))
    mixed = Split([*train.examples, transformer.data.split("test").examples[0]], np.append(train.labels, 0))
    with pytest.raises(DataError, match="1 of 21 calibration rows"):
        quantize(transformer.artifact, _folder(tmp_path), Scheme(), calibration=mixed)


def test_a_part_of_the_training_rows_is_taken(transformer: Sample, tmp_path: Path) -> None:
    part = transformer.data.split("train").take(range(20))
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme(rows=500), calibration=part)
    assert made.core.steps[-1].settings["split"] == "learned"
    assert made.core.steps[-1].settings["rows"] == 20


def test_an_artifact_that_does_not_know_its_rows_takes_what_is_given(transformer: Sample, tmp_path: Path) -> None:
    stranger = replace(transformer.artifact, core=replace(transformer.artifact.core, split=None), folder=tmp_path / "x")
    (tmp_path / "x").mkdir()
    for path in transformer.artifact.files:
        (tmp_path / "x" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "x" / path).write_bytes(transformer.artifact.read(path))
    train = transformer.data.split("train")
    made = quantize(stranger, _folder(tmp_path), Scheme(rows=16), calibration=train)
    assert made.core.steps[-1].settings["split"] == "given"


def test_rows_of_one_length_share_a_run_without_padding(transformer: Sample) -> None:
    from toolkit.compress.calibration import choose_rows

    train = transformer.data.split("train")
    rows = choose_rows(transformer.artifact, train, transformer.classifier.encoder, rows=100, seed=0)
    assert sum(len(batch["input_ids"]) for batch in rows.batches) == rows.count == 100
    assert all(batch["attention_mask"].all() for batch in rows.batches)
    assert len(rows.batches) < 60


@pytest.mark.parametrize(
    ("mode", "products"), [("dynamic", "MatMulInteger"), ("static", "DequantizeLinear"), ("weights", "Cast")]
)
def test_the_dense_layers_of_an_mlp_are_in_8_bits(mode: str, products: str, tmp_path: Path) -> None:
    classifier = make_classifier("mlp", width=32, hidden=(64,))
    artifact, _ = export(replace(classifier, split=None, training_rows=None), tmp_path / "fp32", examples=TEXTS)
    rows = Split(TEXTS, np.zeros(len(TEXTS), dtype=np.int64))
    made = quantize(artifact, _folder(tmp_path), Scheme(mode), calibration=rows if mode == "static" else None)
    settings = made.core.steps[-1].settings
    # its table is small, and such a one pays only where size is all that is asked
    tables = {"embedding table": 1} if mode == "weights" else {}
    assert settings["int8"] == {"Gemm": 1, **tables}
    assert settings["float"] == {"Gemm": 1}, "the last one is small and decides"
    assert products in _operators(made)
    tensors = onnx.load_from_string(made.read("model.onnx")).graph.initializer
    assert [tensor.data_type for tensor in tensors if sorted(tensor.dims) == [64, 64]] == [onnx.TensorProto.INT8]


def test_an_lstm_is_quantized_in_dynamic_mode(lstm: Sample, tmp_path: Path) -> None:
    made = quantize(lstm.artifact, _folder(tmp_path), Scheme("dynamic"))
    assert made.core.steps[-1].settings["int8"]["LSTM"] == 1
    assert "DynamicQuantizeLSTM" in _operators(made)
    assert made.files["model.onnx"]["bytes"] < 0.5 * lstm.artifact.files["model.onnx"]["bytes"]
    assert _agreement(lstm.artifact, made, lstm.data.split("test").examples) > 0.9


def test_an_lstm_in_8_bits_answers_near_and_by_its_batch(lstm: Sample, tmp_path: Path) -> None:
    """The scale of what goes into the recurrence is that of the whole batch, as it is for products."""
    made = quantize(lstm.artifact, _folder(tmp_path), Scheme("dynamic"))
    assert made.depends_on_batch
    rows = lstm.data.split("test").examples[:64]
    encoder = made.encoder()
    with OnnxRunner(lstm.artifact.read("model.onnx")) as fp32, OnnxRunner(made.read("model.onnx")) as int8:
        singles = [encoder.encode([row]) for row in rows]
        expected, alone = (np.concatenate([runner.run(single) for single in singles]) for runner in (fp32, int8))
        together, exact = (runner.run(encoder.encode(rows)) for runner in (int8, fp32))
    assert np.abs(alone - expected).max() < 0.1 * np.abs(expected).max()
    assert np.abs(exact - expected).max() < 1e-4, "in float a row does not know its batch"
    assert np.abs(together - alone).max() > 1e-4, "in 8 bits it does"


def test_half_precision_is_half_the_size_and_says_what_it_buys(transformer: Sample, tmp_path: Path) -> None:
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme("fp16", keep_float=("/classifier/Gemm",)))
    assert made.core.precision == "fp16"
    assert made.core.steps[-1].settings == {
        "mode": "fp16", "target": "cpu", "keep_float": ["/classifier/Gemm"], "buys": "size, not time, on a CPU",
    }  # fmt: skip
    assert not made.depends_on_batch
    assert made.files["model.onnx"]["bytes"] < 0.6 * transformer.artifact.files["model.onnx"]["bytes"]
    assert _agreement(transformer.artifact, made, transformer.data.split("test").examples) > 0.99


def test_a_graph_for_tensorrt_says_so_and_answers_on_a_cpu(transformer: Sample, tmp_path: Path) -> None:
    train = transformer.data.split("train")
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme(target="tensorrt", rows=64), calibration=train)
    settings = made.core.steps[-1].settings
    assert settings["target"] == "tensorrt"
    assert settings["reduce_range"] is False
    assert settings["int8"] == {"MatMul": 12}
    assert _agreement(transformer.artifact, made, transformer.data.split("test").examples) > 0.9
    assert is_for_tensorrt(made)
    assert not any(remark.refused for remark in lint_artifact(made))


def test_only_graphs_for_tensorrt_are_taken_by_it(transformer: Sample, cnn: Sample, tmp_path: Path) -> None:
    for sample in (transformer, cnn):
        for target in ("tensorrt", "cpu"):
            folder = tmp_path / f"{sample.classifier.net.kind}-{target}"
            folder.mkdir()
            scheme = Scheme(target=target, rows=64)
            made = quantize(sample.artifact, folder, scheme, calibration=sample.data.split("train"))
            refused = {remark.rule for remark in lint_artifact(made) if remark.refused}
            assert is_for_tensorrt(made) is (target == "tensorrt")
            assert ("unsigned" in refused) is (target == "cpu"), refused
            assert not refused or target == "cpu"
        half = quantize(sample.artifact, _folder(tmp_path, sample.classifier.net.kind), Scheme(mode="fp16"))
        for artifact in (sample.artifact, half):
            assert not any(remark.refused for remark in lint_artifact(artifact))


def test_a_cnn_is_quantized_in_static_mode_and_dynamic_says_so(cnn: Sample, tmp_path: Path) -> None:
    train = cnn.data.split("train")
    made = quantize(cnn.artifact, _folder(tmp_path), Scheme(rows=64), calibration=train)
    assert made.core.steps[-1].settings["int8"]["Conv"] > 4
    assert made.files["model.onnx"]["bytes"] < 0.5 * cnn.artifact.files["model.onnx"]["bytes"]
    assert _agreement(cnn.artifact, made, cnn.data.split("test").examples) > 0.9
    with pytest.raises(InputError, match=r"nothing to quantize: mode dynamic takes .*; mode static can"):
        quantize(cnn.artifact, _folder(tmp_path, "dynamic"), Scheme("dynamic"))
    assert not list((tmp_path / "dynamic").iterdir())


def test_static_mode_and_smoothing_ask_for_rows(transformer: Sample, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="static mode measures ranges on training rows and got none"):
        quantize(transformer.artifact, tmp_path, Scheme())
    with pytest.raises(RecipeError, match="smoothing measures outliers on training rows and got none"):
        quantize(transformer.artifact, tmp_path, Scheme("dynamic", smooth=0.5))


def test_int8_is_not_quantized_again(transformer: Sample, tmp_path: Path) -> None:
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme("dynamic"))
    with pytest.raises(InputError, match="is int8 already; quantize the fp32 artifact it came from"):
        quantize(made, tmp_path, Scheme("dynamic"))


def test_range_is_reduced_where_8_bit_sums_saturate(
    transformer: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(describe_machine(), system="Linux x86_64", flags=("avx2",))
    monkeypatch.setattr(module, "describe_machine", lambda: old)
    assert needs_reduced_range()
    made = quantize(transformer.artifact, _folder(tmp_path), Scheme("dynamic"))
    assert made.core.steps[-1].settings["reduce_range"] is True
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(made.read("model.onnx")).graph.initializer
        if tensor.name.endswith("_quantized")
    ]
    assert weights
    assert all(np.abs(array.astype(np.int16)).max() <= 64 for array in weights)
    monkeypatch.setattr(module, "describe_machine", lambda: replace(old, flags=("avx2", "avx_vnni")))
    assert not needs_reduced_range()
