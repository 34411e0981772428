"""A trained classifier saved and read again: the same answers, the same lineage, never another's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_classifiers import KINDS, examples_of, make_classifier

from toolkit.artifact import load_artifact, write_artifact
from toolkit.classifier import load_classifier, save_classifier
from toolkit.encoders import encoder_files
from toolkit.errors import ArtifactError
from toolkit.export.onnx import export
from toolkit.lineage import Step


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_read_again(kind: str, tmp_path: Path) -> None:
    classifier = make_classifier(kind)
    artifact = save_classifier(classifier, tmp_path, golden_examples=examples_of(kind)[:3])
    again = load_classifier(tmp_path)
    arrays = classifier.encoder.encode(examples_of(kind))
    assert np.array_equal(again.run(again.encoder.encode(examples_of(kind))), classifier.run(arrays))
    assert (again.name, again.spec, again.steps, again.split) == (
        classifier.name,
        classifier.spec,
        classifier.steps,
        classifier.split,
    )
    assert again.temperature == 1.5
    assert again.parent == artifact.digest
    assert again.training_rows is not None
    assert again.training_rows.tolist() == [0, 1, 2, 3, 4]
    assert encoder_files(again.encoder) == encoder_files(classifier.encoder)
    assert not again.net.training


def test_golden_rows_hold_its_own_answers(tmp_path: Path) -> None:
    classifier = make_classifier("mlp")
    artifact = save_classifier(classifier, tmp_path, golden_examples=examples_of("mlp")[:3])
    golden = artifact.golden()
    assert np.array_equal(classifier.run(golden.arrays), golden.logits)
    assert len(golden.logits) == 3


def test_a_step_gives_a_new_classifier_and_leaves_the_old() -> None:
    classifier = make_classifier("mlp")
    other = make_classifier("mlp", hidden=(4,))
    made = classifier.after(Step("prune", {"keep": 0.5}), other.net)
    assert [step.name for step in made.steps] == ["train", "prune"]
    assert [step.name for step in classifier.steps] == ["train"]
    assert made.net is other.net
    assert (made.temperature, classifier.temperature) == (1.0, 1.5), "a temperature is fitted to one net"
    assert classifier.net is not other.net


def test_parameters_are_counted() -> None:
    sizes = make_classifier("mlp").net.sizes
    dense = 2 * sizes.width * 16 + 16
    assert make_classifier("mlp").parameters == sizes.vocabulary * sizes.width + dense + 16 * 3 + 3


def test_running_uses_no_dropout_and_keeps_no_gradients() -> None:
    classifier = replace(make_classifier("mlp", dropout=0.9))
    classifier.net.train()
    arrays = classifier.encoder.encode(examples_of("mlp"))
    assert np.array_equal(classifier.run(arrays), classifier.run(arrays))
    assert all(parameter.grad is None for parameter in classifier.net.parameters())


def test_an_exported_model_is_no_classifier(tmp_path: Path) -> None:
    export(make_classifier("mlp"), tmp_path, examples=examples_of("mlp"))
    with pytest.raises(ArtifactError, match=r"is an exported model \(onnx\); this step needs the trained classifier"):
        load_classifier(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    classifier = make_classifier("mlp")
    artifact = save_classifier(classifier, tmp_path / "good")
    tensors = load_file(tmp_path / "good/model.safetensors")
    tensors["classifier.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "wrong.safetensors")
    models = {"model.safetensors": (tmp_path / "wrong.safetensors").read_bytes()}
    write_artifact(tmp_path / "bad", artifact.core, classifier.encoder, models=models)
    with pytest.raises(ArtifactError, match="do not fit its sizes"):
        load_classifier(tmp_path / "bad")


def test_weights_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    classifier = make_classifier("mlp")
    artifact = save_classifier(classifier, tmp_path / "good")
    write_artifact(tmp_path / "bad", artifact.core, classifier.encoder, models={"model.safetensors": b"\x80\x04pickle"})
    with pytest.raises(ArtifactError, match="do not fit its sizes"):
        load_classifier(tmp_path / "bad")


def test_the_same_classifier_has_the_same_digest_wherever_it_is_saved(tmp_path: Path) -> None:
    digests = {save_classifier(make_classifier("lstm"), tmp_path / name).digest for name in ("a", "b/c")}
    assert len(digests) == 1
    assert load_artifact(tmp_path / "a").digest in digests
