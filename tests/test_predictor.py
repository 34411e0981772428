"""The predictor: what was measured is what is served, and what exists can answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from digits_models import held_out, make_artifact, make_int8_artifact
from small_classifiers import TEXTS, make_classifier

from toolkit.artifact import load_artifact, write_artifact
from toolkit.errors import ArtifactError, InputError
from toolkit.export.onnx import export
from toolkit.golden import Golden
from toolkit.predictor import Predictor, relative_difference, self_test
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import softmax


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predictor") / "exported"
    export(make_classifier("transformer"), path, examples=TEXTS)
    return path


def test_examples_of_any_order_come_back_in_the_callers(folder: Path) -> None:
    classifier = make_classifier("transformer")
    expected = classifier.run(classifier.encoder.encode(TEXTS))
    with Predictor.load(folder) as predictor:
        predictor.batch_size = 2  # several batches, sorted by size inside
        assert np.allclose(predictor.logits(TEXTS), expected, atol=1e-4)
        assert np.allclose(predictor.logits(TEXTS[::-1]), expected[::-1], atol=1e-4)


def test_probabilities_are_after_the_temperature(folder: Path) -> None:
    with Predictor.load(folder) as predictor:
        logits = predictor.logits(TEXTS)
        assert predictor.temperature == 1.5
        assert np.allclose(predictor.probabilities(TEXTS), softmax(logits / 1.5))
        best = predictor(TEXTS)
    assert [found.label for found in best] == [("one", "two", "three")[i] for i in logits.argmax(axis=1)]
    assert [found.score for found in best] == pytest.approx(softmax(logits / 1.5).max(axis=1).tolist())


def test_no_examples_give_no_answers(folder: Path) -> None:
    with Predictor.load(folder) as predictor:
        assert predictor([]) == []
        assert predictor.logits([]).shape == (0, 3)


def test_bad_input_is_an_input_error(folder: Path) -> None:
    with Predictor.load(folder) as predictor, pytest.raises(InputError, match="is empty"):
        predictor(["  "])


def test_trained_and_exported_answer_alike(folder: Path, tmp_path: Path) -> None:
    from toolkit.classifier import save_classifier

    save_classifier(make_classifier("transformer"), tmp_path, golden_examples=TEXTS[:2])
    with Predictor.load(tmp_path) as trained, Predictor.load(folder) as exported:
        assert np.allclose(trained.probabilities(TEXTS), exported.probabilities(TEXTS), atol=1e-5)


def test_dynamic_int8_is_run_a_row_at_a_time(tmp_path: Path) -> None:
    pictures = held_out(9).examples
    with Predictor.load(make_int8_artifact(tmp_path / "int8")) as predictor:
        assert predictor.batch_size == 1
        together = predictor.logits(pictures)
        alone = np.concatenate([predictor.logits([picture]) for picture in pictures])
    assert np.array_equal(together, alone)


def test_a_changed_file_is_never_opened(tmp_path: Path) -> None:
    make_artifact(tmp_path / "digits")
    model = tmp_path / "digits/model.onnx"
    content = bytearray(model.read_bytes())
    content[-9] ^= 0x10
    model.write_bytes(content)
    with pytest.raises(ArtifactError, match="sha256 differs"):
        Predictor.load(tmp_path / "digits")


def test_a_whole_artifact_with_another_models_golden_rows_is_refused(tmp_path: Path) -> None:
    """Hashes agree, answers do not: what a broken kernel or a mixed-up export looks like."""
    good = make_artifact(tmp_path / "good")
    golden = good.golden()
    wrong = Golden(golden.arrays, golden.logits + np.float32(0.5))
    models = {"model.onnx": good.read("model.onnx")}
    write_artifact(tmp_path / "bad", good.core, good.encoder(), models=models, golden=wrong)
    load_artifact(tmp_path / "bad").verify()
    with pytest.raises(ArtifactError, match="the self-test failed: logits differ by"):
        Predictor.load(tmp_path / "bad")


def test_int8_must_give_the_same_labels_only(tmp_path: Path) -> None:
    artifact = make_int8_artifact(tmp_path / "int8")
    golden = artifact.golden()
    with OnnxRunner(artifact.read("model.onnx")) as runner:
        shifted = Golden(golden.arrays, golden.logits + np.float32(0.5))
        assert self_test(runner, shifted, exact=False) > 1e-3
        flipped = Golden(golden.arrays, -golden.logits)
        with pytest.raises(ArtifactError, match="got another label"):
            self_test(runner, flipped, exact=False)


def test_an_answer_that_is_no_number_fails_the_self_test(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "digits")
    golden = artifact.golden()
    poisoned = {name: np.full_like(array, np.nan) for name, array in golden.arrays.items()}
    with OnnxRunner(artifact.read("model.onnx")) as runner:
        for exact in (True, False):
            with pytest.raises(ArtifactError, match="the self-test failed"):
                self_test(runner, replace(golden, arrays=poisoned), exact=exact)


def test_a_closed_predictor_refuses(folder: Path) -> None:
    predictor = Predictor.load(folder)
    predictor.close()
    with pytest.raises(InputError, match="closed"):
        predictor(TEXTS)


def test_relative_difference_is_of_the_largest_logit_of_a_row() -> None:
    expected = np.asarray([[100.0, 0.0], [0.1, 0.2]], dtype=np.float32)
    found = np.asarray([[101.0, 0.0], [0.1, 0.205]], dtype=np.float32)
    assert relative_difference(expected, found) == pytest.approx(0.01)
    assert relative_difference(expected[1:], found[1:]) == pytest.approx(0.005, rel=1e-4)
    assert np.isnan(relative_difference(expected, np.full_like(expected, np.nan)))
    assert relative_difference(expected[:0], found[:0]) == 0.0
