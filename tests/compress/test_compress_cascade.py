"""Two artifacts made one: what is recorded, what is left alone, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cascade_models import FEW_ROWS, make_cascade, unseen_rows, validation_rows
from digits_models import TRAIN_ROWS, digits, make_artifact, make_int8_artifact

from toolkit.artifact import Artifact, load_artifact, write_artifact
from toolkit.compress.cascade import cascade, describe_router
from toolkit.compress.thresholds import route
from toolkit.data import Split, hash_rows
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.golden import rows_to_bytes
from toolkit.lineage import SplitRecord, digest_of
from toolkit.predictor import Predictor


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_int8_artifact(tmp_path_factory.mktemp("small") / "s", training_rows=FEW_ROWS)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_artifact(tmp_path_factory.mktemp("large") / "l")


def accuracy_of(artifact: Artifact, rows: Split) -> float:
    with Predictor.load(artifact) as predictor:
        return float((predictor.logits(rows.examples).argmax(axis=1) == rows.labels).mean())


def test_the_drop_is_kept_with_fewer_than_all_rows(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    rows = validation_rows()
    made = cascade(small, large, tmp_path / "c", validation=rows, max_drop=0.01)
    router = made.core.router
    assert router is not None
    assert router.within_budget
    assert accuracy_of(small, rows) < accuracy_of(large, rows) - 0.01
    assert accuracy_of(made, rows) == pytest.approx(router.accuracy)
    assert router.accuracy >= accuracy_of(large, rows) - 0.01 - 1e-9
    assert 0 < router.share < 1
    unseen = unseen_rows(300)
    assert accuracy_of(made, unseen) > accuracy_of(small, unseen)


def test_the_step_holds_what_was_chosen_and_on_what(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    rows = validation_rows()
    said: list[str] = []
    made = cascade(
        small, large, tmp_path / "c", validation=rows, share=0.25, name="both",
        progress=lambda *words: said.append(str(words[-1])),
    )  # fmt: skip
    assert load_artifact(tmp_path / "c") == made
    (step,) = made.core.steps
    router = made.core.router
    assert router is not None
    assert step.name == "cascade"
    assert step.settings["threshold"] == router.threshold
    assert step.settings["share"] == router.share == pytest.approx(0.25, abs=0.01)
    assert step.settings["asked"] == {"max_drop": None, "share": 0.25}
    assert step.settings["members"] == {"small": small.digest, "large": large.digest}
    accuracies = step.settings["validation_accuracy"]
    assert accuracies["small"] == pytest.approx(accuracy_of(small, rows))
    assert accuracies["large"] == pytest.approx(accuracy_of(large, rows))
    sizes = [artifact.files["model.onnx"]["bytes"] for artifact in (small, large)]
    assert step.settings["mean_model_bytes"] == round(sizes[0] + router.share * sizes[1])
    assert (made.name, made.core.precision, made.core.temperature) == ("both", "mixed", 1.0)
    assert made.core.parent == large.digest
    assert made.core.split == large.core.split
    assert made.depends_on_batch, "its small member does"
    assert "25.0 % of validation rows deferred" in said[-1]


def test_members_are_left_as_they_were(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for a in (small, large) for path in a.folder.rglob("*") if path.is_file()}
    cascade(small, large, tmp_path / "c", validation=validation_rows(), share=0.1)
    after = {path: path.read_bytes() for a in (small, large) for path in a.folder.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(("share", "role"), [(0.0, "small"), (1.0, "large")])
def test_deferring_nothing_or_all_is_exactly_one_member_and_says_so(share: float, role: str, tmp_path: Path) -> None:
    made = make_cascade(tmp_path / "c", share=share)
    pictures = unseen_rows().examples
    with Predictor.load(made) as both, Predictor.load(made.members[role]) as one:
        assert np.array_equal(both.logits(pictures), one.logits(pictures))
    assert made.core.router is not None
    assert f"the {role} model alone" in describe_router(made.core.router)


def test_a_small_model_as_good_as_the_large_one_defers_nothing(large: Artifact, tmp_path: Path) -> None:
    made = cascade(large, large, tmp_path / "c", validation=validation_rows(), max_drop=0.0)
    assert made.core.router is not None
    assert (made.core.router.share, made.core.precision) == (0.0, "fp32")


def test_the_artifact_answers_as_the_search_routed(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    rows = validation_rows()
    made = cascade(small, large, tmp_path / "c", validation=rows, share=0.3)
    assert made.core.router is not None
    with Predictor.load(small) as first, Predictor.load(large) as second, Predictor.load(made) as both:
        expected = route(first.logits(rows.examples), second.logits(rows.examples), made.core.router)
        assert np.allclose(both.logits(rows.examples), expected, atol=1e-5)


def test_rows_of_training_travel_from_both_members(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    copies = []
    for artifact, rows in ((small, [3, 5]), (large, [5, 9])):
        content = rows_to_bytes(np.asarray(rows, dtype=np.uint64))
        copies.append(
            write_artifact(
                tmp_path / artifact.name, replace(artifact.core, split=None), artifact.encoder(),
                models={"model.onnx": artifact.read("model.onnx")}, evidence={"training_rows.npy": content},
            )
        )  # fmt: skip
    made = cascade(*copies, tmp_path / "c", validation=validation_rows(), share=0.2)
    found = made.training_rows()
    assert found is not None
    assert found.tolist() == [3, 5, 9]


def known(artifact: Artifact, folder: Path, name: str, rows: Split) -> Artifact:
    """The artifact with `rows` as the split `name` of its data."""
    digest = digest_of([[str(key) for key in hash_rows(rows.examples)], rows.labels.tolist()])
    record = SplitRecord("digits", "0" * 64, 0, {name: digest})
    models = {"model.onnx": artifact.read("model.onnx")}
    pictures, _ = digits()
    learned = np.unique(hash_rows(pictures[:TRAIN_ROWS]))
    evidence = {"training_rows.npy": rows_to_bytes(learned)}
    core = replace(artifact.core, split=record)
    return write_artifact(folder, core, artifact.encoder(), models=models, evidence=evidence)


@pytest.mark.parametrize(
    ("name", "words"),
    [("test", "are the test rows of digits"), ("train", "was trained on these rows"), ("other", "may be its test")],
)
def test_rows_that_may_not_choose_are_refused(
    name: str, words: str, small: Artifact, large: Artifact, tmp_path: Path
) -> None:
    rows = validation_rows()
    judged = known(large, tmp_path / "known", name, rows.take([0, 1, 2]) if name == "other" else rows)
    with pytest.raises(DataError, match=words):
        cascade(small, judged, tmp_path / "c", validation=rows, share=0.2)
    assert not (tmp_path / "c").exists()
    allowed = known(large, tmp_path / "validation", "validation", rows)
    assert cascade(small, allowed, tmp_path / "c", validation=rows, share=0.2).core.split == allowed.core.split


def test_bad_values_are_refused_by_name(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    rows, folder = validation_rows(), tmp_path / "c"
    with pytest.raises(RecipeError, match="either max_drop"):
        cascade(small, large, folder, validation=rows)
    with pytest.raises(RecipeError, match="either max_drop"):
        cascade(small, large, folder, validation=rows, max_drop=0.1, share=0.1)
    with pytest.raises(RecipeError, match=r"max_drop is 1\.5; allowed: 0 to 1"):
        cascade(small, large, folder, validation=rows, max_drop=1.5)
    with pytest.raises(DataError, match="no validation rows"):
        cascade(small, large, folder, validation=rows.take([]), share=0.1)
    assert not folder.exists()


def test_members_that_cannot_be_joined_are_refused_by_name(small: Artifact, large: Artifact, tmp_path: Path) -> None:
    rows, folder = validation_rows(), tmp_path / "c"
    turned = make_artifact(tmp_path / "turned", order=list(reversed(range(10))))
    with pytest.raises(InputError, match="do not have the same labels; their order differs"):
        cascade(small, turned, folder, validation=rows, share=0.1)
    labels = ("none", *large.spec.labels[1:])
    models = {"model.onnx": large.read("model.onnx")}
    spec = replace(large.spec, labels=labels)
    other = write_artifact(tmp_path / "o", replace(large.core, spec=spec), large.encoder(), models=models)
    with pytest.raises(InputError, match="only one of them has: none, zero"):
        cascade(small, other, folder, validation=rows, share=0.1)
    spec = replace(large.spec, task="text")
    texts = write_artifact(tmp_path / "t", replace(large.core, spec=spec), large.encoder(), models=models)
    with pytest.raises(InputError, match="is of the task image and"):
        cascade(small, texts, folder, validation=rows, share=0.1)
    trained = write_artifact(tmp_path / "n", replace(large.core, format="safetensors"), large.encoder(), models=models)
    with pytest.raises(InputError, match="toolkit export first"):
        cascade(trained, large, folder, validation=rows, share=0.1)
    joined = cascade(small, large, folder, validation=rows, share=0.1)
    with pytest.raises(InputError, match="is a cascade; a cascade has two single models"):
        cascade(joined, large, tmp_path / "d", validation=rows, share=0.1)
