"""One number refitted: scores mean what they say, no answer and no file changes, and only validation rows teach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe
from scipy.optimize import minimize_scalar
from small_classifiers import examples_of, make_classifier

from toolkit.artifact import CORE, Artifact, load_artifact
from toolkit.classifier import copy_net, load_classifier, save_classifier
from toolkit.compress.cascade import cascade
from toolkit.compress.distill import distill
from toolkit.compress.mask import mask
from toolkit.compress.prune import cut, prune
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.compress.temperature import (
    calibration_grew,
    fit_temperature,
    negative_log_likelihood,
    refit_temperature,
)
from toolkit.data import Data, Split
from toolkit.encoders.text import TokenEncoder
from toolkit.errors import DataError, InputError
from toolkit.export.onnx import export
from toolkit.nets import build_net
from toolkit.predictor import Predictor
from toolkit.spec import Array, softmax


def _drawn(temperature: float, *, rows: int = 4000, seed: int = 0) -> tuple[Array, Array]:
    """Logits that are `temperature` times too sure, and labels drawn from what they should say."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(0, 2, (rows, 4))
    labels = np.array([generator.choice(4, p=row) for row in softmax(honest)])
    return (honest * temperature).astype(np.float32), labels


def _folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


@pytest.fixture(scope="module")
def artifacts(lstm: Sample, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """One net as every kind of file: its weights, fp32 ONNX, and INT8 with scales of the run."""
    folder = tmp_path_factory.mktemp("temperature")
    examples = lstm.data.split("validation").examples
    return {
        "safetensors": save_classifier(lstm.classifier, folder / "net", golden_examples=examples[:4]),
        "onnx": lstm.artifact,
        "int8": quantize(lstm.artifact, _folder(folder, "int8"), Scheme(mode="dynamic")),
    }


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "int8"])
def test_scores_mean_more_and_no_answer_and_no_file_changes(
    kind: str, artifacts: dict[str, Artifact], lstm: Sample, tmp_path: Path
) -> None:
    artifact, validation = artifacts[kind], lstm.data.split("validation")
    core = (artifact.folder / CORE).read_bytes()
    made = refit_temperature(artifact, _folder(tmp_path, "made"), validation=validation, name="honest")
    assert (artifact.folder / CORE).read_bytes() == core
    assert load_artifact(made.folder).digest == made.digest != artifact.digest
    assert made.files == artifact.files, "models, encoder and golden rows are the same bytes"
    assert (made.name, made.core.parent) == ("honest", artifact.digest)
    assert replace(made.core, name=artifact.name, parent=artifact.core.parent, temperature=1.0,
                   steps=artifact.core.steps) == artifact.core  # fmt: skip
    assert np.array_equal(made.training_rows(), artifact.training_rows())  # type: ignore[arg-type]
    step = made.core.steps[-1]
    assert (step.name, len(made.core.steps)) == ("temperature", len(artifact.core.steps) + 1)
    settings = step.settings
    assert (settings["split"], settings["rows"], settings["changed"]) == ("validation", len(validation), True)
    assert settings["loss"] < settings["loss_before"]
    with Predictor.load(artifact) as before, Predictor.load(made) as after:
        logits = before.logits(validation.examples)
        assert np.array_equal(after.logits(validation.examples), logits)
        assert after.temperature == settings["temperature"] != before.temperature == settings["temperature_before"]
        assert np.array_equal(after.probabilities(validation.examples), softmax(logits / after.temperature))
    assert settings["loss"] == pytest.approx(negative_log_likelihood(logits / after.temperature, validation.labels))


def test_a_second_fit_changes_nothing_and_says_so(lstm: Sample, tmp_path: Path) -> None:
    validation = lstm.data.split("validation")
    first = refit_temperature(lstm.artifact, _folder(tmp_path, "first"), validation=validation)
    second = refit_temperature(first, _folder(tmp_path, "second"), validation=validation)
    assert second.core.temperature == first.core.temperature
    settings = second.core.steps[-1].settings
    assert settings["changed"] is False
    assert settings["calibration_error"] == settings["calibration_error_before"]
    assert settings["loss"] == settings["loss_before"]
    again = refit_temperature(lstm.artifact, _folder(tmp_path, "again"), validation=validation)
    assert again.digest == first.digest, "the same rows give the same bytes"


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_and_is_the_one_that_scipy_finds(temperature: float) -> None:
    logits, labels = _drawn(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    reference = minimize_scalar(
        lambda logarithm: negative_log_likelihood(logits / np.exp(logarithm), labels),
        bounds=(-2.9, 2.9), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    assert found == pytest.approx(float(np.exp(reference.x)), rel=1e-4)
    assert np.array_equal((logits / found).argmax(1), logits.argmax(1))


def test_a_net_that_is_three_times_as_sure_gets_three_times_the_temperature(lstm: Sample, tmp_path: Path) -> None:
    validation = lstm.data.split("validation")
    sure = copy_net(lstm.classifier.net)
    with torch.no_grad():
        for parameter in sure.classifier.parameters():  # type: ignore[union-attr]
            parameter.mul_(3.0)
    surer = save_classifier(replace(lstm.classifier, net=sure), tmp_path / "sure")
    made = refit_temperature(surer, _folder(tmp_path, "made"), validation=validation)
    calibrated = refit_temperature(lstm.artifact, _folder(tmp_path, "calibrated"), validation=validation)
    assert made.core.temperature == pytest.approx(3 * calibrated.core.temperature, rel=1e-3)
    with Predictor.load(made) as first, Predictor.load(calibrated) as second:
        told = second.probabilities(validation.examples)
        assert first.probabilities(validation.examples) == pytest.approx(told, abs=1e-4)


@pytest.mark.parametrize("labels", [lambda logits: logits.argmax(1), lambda logits: logits.argmin(1)])
def test_there_is_none_where_every_row_is_right_or_wrong(labels: Callable[[Array], Array]) -> None:
    logits, _ = _drawn(1.0, rows=200)
    assert fit_temperature(logits, labels(logits)) is None
    assert fit_temperature(np.zeros((10, 3), dtype=np.float32), np.zeros(10, dtype=np.int64)) is None


def test_rows_that_are_all_right_leave_the_temperature_as_it_was(tmp_path: Path) -> None:
    classifier = replace(make_classifier("mlp"), split=None)
    examples = examples_of("mlp")
    artifact, _ = export(classifier, _folder(tmp_path, "onnx"), examples=examples)
    right = classifier.run(classifier.encoder.encode(examples)).argmax(axis=1).astype(np.int64)
    made = refit_temperature(artifact, _folder(tmp_path, "made"), validation=Split(examples, right))
    settings = made.core.steps[-1].settings
    assert (made.core.temperature, settings["changed"], settings["split"]) == (1.5, False, "given")


def test_loss_is_finite_where_a_probability_is_zero() -> None:
    logits = np.array([[1e4, 0.0], [0.0, -1e4]], dtype=np.float32)
    assert negative_log_likelihood(logits, np.array([1, 0])) == pytest.approx(5e3)


def test_calibration_grew_asks_for_half_a_point() -> None:
    honest, labels = _drawn(1.0)
    assert calibration_grew(honest, 3 * honest, labels)
    assert calibration_grew(honest, honest / 3, labels)
    assert not calibration_grew(3 * honest, honest, labels)
    assert not calibration_grew(honest, honest, labels)
    assert not calibration_grew(honest, 1.001 * honest, labels)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda data: data.split("train"), "these are the training rows of this model, of which it is surer"),
        (lambda data: data.split("test"), "these are the test rows of this model, and a test judges"),
        (lambda data: data.split("validation").take(range(50)), "not those that this model was validated on"),
        (lambda data: Split(["Who is a stranger ?"], np.zeros(1, np.int64)), "give its own data, whose validation"),
        (lambda data: data.split("validation").take([]), "there are no validation rows"),
    ],
)
def test_other_rows_are_refused(rows: Callable[[Data], Split], said: str, lstm: Sample, tmp_path: Path) -> None:
    folder = _folder(tmp_path, "made")
    with pytest.raises(DataError, match=said):
        refit_temperature(lstm.artifact, folder, validation=rows(lstm.data))
    assert list(folder.iterdir()) == []


def test_a_cascade_is_refused_by_name(lstm: Sample, tmp_path: Path) -> None:
    validation = lstm.data.split("validation")
    large = refit_temperature(lstm.artifact, _folder(tmp_path, "large"), validation=validation)
    both = cascade(lstm.artifact, large, _folder(tmp_path, "both"), validation=validation, share=0.2, name="both")
    with pytest.raises(InputError, match="is a cascade; each member has its own temperature"):
        refit_temperature(both, _folder(tmp_path, "made"), validation=validation)


def test_a_temperature_travels_with_its_net_and_not_to_another(lstm: Sample, tmp_path: Path) -> None:
    validation = lstm.data.split("validation")
    save_classifier(replace(lstm.classifier, temperature=2.5), tmp_path / "net")
    loaded = load_classifier(tmp_path / "net")
    assert loaded.temperature == 2.5
    artifact, _ = export(loaded, _folder(tmp_path, "onnx"), examples=validation.examples)
    assert artifact.core.temperature == 2.5
    assert quantize(artifact, _folder(tmp_path, "int8"), Scheme(mode="dynamic")).core.temperature == 2.5
    pruned = mask(loaded, lstm.data, keep=0.5, recover=0).classifier
    assert pruned.temperature == 1.0


def test_what_is_pruned_or_distilled_has_a_temperature_of_its_own(trec: Data, lstm: Sample) -> None:
    """The fitted one stays with the net that it was fitted to, whether the new net was trained or only cut."""
    encoder = lstm.classifier.encoder
    assert isinstance(encoder, TokenEncoder)
    sizes = {"width": 16, "heads": (2, 2), "head_width": 8, "feed_forward": (64, 64), "positions": encoder.max_length,
             "vocabulary": encoder.vocabulary_size, "labels": len(trec.labels)}  # fmt: skip
    net = build_net("transformer", sizes).eval()
    fitted = replace(lstm.classifier, net=net, temperature=2.5)
    recipe = short_recipe("transformer", epochs=1)
    made = {
        "cut": cut(fitted, trec, keep=0.5),
        "pruned": prune(fitted, trec, keep=0.5, recover=0, recipe=recipe).classifier,
        "recovered": prune(fitted, trec, keep=0.5, recover=1, recipe=recipe).classifier,
        "distilled": distill(fitted, trec, student=net, encoder=encoder, recipe=recipe).classifier,
    }
    assert {name: classifier.temperature for name, classifier in made.items()} == dict.fromkeys(made, 1.0)
    assert fitted.temperature == 2.5


@pytest.mark.parametrize("recover", [0, 1])
def test_a_cut_that_takes_nothing_keeps_the_temperature(recover: int, cnn: Sample) -> None:
    """The answers are the same, so what was fitted to them still holds."""
    fitted = replace(cnn.classifier, temperature=2.5)
    made = prune(fitted, cnn.data, keep=1.0, recover=recover, recipe=short_recipe("cnn", epochs=1)).classifier
    arrays = fitted.encoder.encode(cnn.data.split("test").examples[:8])
    assert np.array_equal(made.run(arrays), fitted.run(arrays))
    assert made.temperature == cut(fitted, cnn.data, keep=1.0).temperature == 2.5
    assert cut(fitted, cnn.data, keep=0.5).temperature == 1.0
