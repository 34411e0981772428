"""The door: every net of ours leaves with the answers that it had, or does not leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from small_classifiers import KINDS, TEXTS, examples_of, make_classifier
from torch import Tensor

from toolkit.artifact import load_artifact
from toolkit.classifier import load_classifier, save_classifier
from toolkit.errors import InputError, ParityError
from toolkit.export.onnx import EXPORTERS, POSITIONS, export
from toolkit.nets import KINDS as NET_KINDS
from toolkit.nets.transformer import Transformer
from toolkit.predictor import Predictor


@pytest.mark.parametrize("kind", KINDS)
def test_every_net_leaves_with_its_answers(kind: str, tmp_path: Path) -> None:
    classifier = make_classifier(kind)
    artifact, parity = export(classifier, tmp_path, examples=examples_of(kind))
    assert parity.passed(1e-5)
    assert {shape[0] for shape in parity.shapes} == {1, 2, 7, 32}
    expected = classifier.run(classifier.encoder.encode(examples_of(kind)))
    with Predictor.load(tmp_path) as predictor:  # verified and self-tested
        assert np.allclose(predictor.logits(examples_of(kind)), expected, atol=1e-4)
        assert predictor.temperature == classifier.temperature
    assert load_artifact(tmp_path).digest == artifact.digest


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_classifier_gives_the_same_digest(kind: str, tmp_path: Path) -> None:
    made = [export(make_classifier(kind), tmp_path / name, examples=examples_of(kind))[0] for name in ("a", "b")]
    assert made[0].digest == made[1].digest


def test_lineage_travels_through_the_door(tmp_path: Path) -> None:
    classifier = make_classifier("mlp")
    trained = save_classifier(classifier, tmp_path / "trained")
    loaded = load_classifier(trained)
    artifact, parity = export(loaded, tmp_path / "exported", examples=TEXTS)
    core = artifact.core
    assert core.parent == trained.digest
    assert [step.name for step in core.steps] == ["train", "export"]
    assert core.steps[-1].settings == {"exporter": "torchscript", "opset": 17}
    assert core.split == classifier.split
    assert core.net == trained.core.net
    assert (core.format, core.precision, core.models) == ("onnx", "fp32", ("model.onnx",))
    rows = load_artifact(tmp_path / "exported").training_rows()
    assert rows is not None
    assert rows.tolist() == [0, 1, 2, 3, 4]
    written = json.loads((tmp_path / "exported/evidence/parity.json").read_bytes())
    assert written == {"digest": artifact.digest, "parity": parity.to_json()}


def test_the_graph_keeps_its_axes_free_and_its_weights_plain(tmp_path: Path) -> None:
    artifact, _ = export(make_classifier("transformer"), tmp_path, examples=TEXTS)
    graph = onnx.load_from_string(artifact.read("model.onnx")).graph
    assert [i.name for i in graph.input] == ["input_ids", "attention_mask"]
    assert [d.dim_param for d in graph.input[0].type.tensor_type.shape.dim] == ["batch", "length"]
    assert [o.name for o in graph.output] == ["logits"]
    weights = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    assert len(products) == 3 * 4  # qkv, output, expand and contract of three layers: what INT8 can take
    assert "LayerNormalization" in {node.op_type for node in graph.node}


def test_positions_that_no_row_reaches_stay_behind(tmp_path: Path) -> None:
    long = make_classifier("transformer", positions=100)
    artifact, parity = export(long, tmp_path, examples=TEXTS)
    assert parity.passed(1e-5)
    graph = onnx.load_from_string(artifact.read("model.onnx")).graph
    (table,) = [tensor for tensor in graph.initializer if tensor.name == POSITIONS]
    assert list(table.dims) == [long.spec.limits["length"][1], long.net.sizes.width] == [24, 16]
    with Predictor.load(tmp_path) as predictor:
        longest = " ".join(TEXTS * 4)  # cut at 24 tokens
        expected = long.run(long.encoder.encode([longest]))
        assert np.allclose(predictor.logits([longest]), expected, atol=1e-4)


def test_batch_norms_are_folded_into_convolutions(tmp_path: Path) -> None:
    artifact, _ = export(make_classifier("cnn"), tmp_path, examples=examples_of("cnn"))
    graph = onnx.load_from_string(artifact.read("model.onnx")).graph
    operators = {node.op_type for node in graph.node}
    assert "Conv" in operators
    assert not operators & {"BatchNormalization", "Identity"}


class _OneLengthOnly(Transformer):
    """A net that breaks in the way exporters break nets: a length seen while tracing is baked in."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = super().forward(input_ids, attention_mask)
        return logits + float(input_ids.shape[1])


def test_a_graph_that_baked_a_length_in_is_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    classifier = make_classifier("transformer")
    baked = _OneLengthOnly(classifier.net.sizes)
    baked.load_state_dict(classifier.net.state_dict())
    with pytest.raises(ParityError, match=r"differs from PyTorch by .* at input shape \[1, 1\].*nothing was written"):
        export(classifier.after(classifier.steps[0], baked), tmp_path, examples=TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_a_net_that_answers_nan_is_stopped(tmp_path: Path) -> None:
    classifier = make_classifier("mlp")
    with torch.no_grad():
        classifier.net.classifier.bias[0] = float("nan")
    with pytest.raises(ParityError, match="nan relative"):
        export(classifier, tmp_path, examples=TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_golden_rows_are_the_clearest_of_each_label(tmp_path: Path) -> None:
    classifier = make_classifier("cnn")
    artifact, _ = export(classifier, tmp_path, examples=examples_of("cnn"))
    golden = artifact.golden()
    logits = classifier.run(classifier.encoder.encode(examples_of("cnn")))
    margins = np.sort(logits, axis=1)[:, -1] - np.sort(logits, axis=1)[:, -2]
    found = np.sort(golden.logits, axis=1)[:, -1] - np.sort(golden.logits, axis=1)[:, -2]
    assert len(golden.logits) == 4
    assert set(golden.logits.argmax(axis=1)) == set(logits.argmax(axis=1))
    assert found.max() == pytest.approx(margins.max(), abs=1e-4)


@pytest.mark.parametrize("examples", [TEXTS[:1], TEXTS[3:4] * 50])
def test_one_example_is_enough_and_many_are_not_too_many(examples: list[str], tmp_path: Path) -> None:
    _, parity = export(make_classifier("lstm"), tmp_path, examples=examples)
    assert parity.passed()


def test_no_examples_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got none"):
        export(make_classifier("mlp"), tmp_path, examples=[])
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_every_shape(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    export(
        make_classifier("cnn"), tmp_path, examples=examples_of("cnn"), progress=lambda *words: told.append(tuple(words))
    )
    assert [row[0] for row in told] == ["export"] * 2 + ["parity"] * 5
    assert told[-1][1:3] == (4, 4)


def test_the_classifier_is_left_as_it_was(tmp_path: Path) -> None:
    classifier = make_classifier("cnn")
    before = {name: tensor.clone() for name, tensor in classifier.net.state_dict().items()}
    export(classifier, tmp_path, examples=examples_of("cnn"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.net.state_dict().items())
    assert classifier.parent is None


def test_every_kind_of_net_has_an_exporter_and_its_reason() -> None:
    assert set(EXPORTERS) == set(NET_KINDS)
    assert all(reason for _, reason in EXPORTERS.values())
