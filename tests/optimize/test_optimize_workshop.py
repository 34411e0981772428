"""Every family of every space can be measured, made, kept and found again, on real rows of its task.

One plan of each family, the smallest values; trainings are an epoch. What is tested is that the artifacts are whole.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SIZES, Digits

from toolkit.artifact import Artifact, load_artifact
from toolkit.classifier import load_classifier
from toolkit.compress.teachers import digest_of_weights
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.encoders import encoder_files
from toolkit.export.onnx import export
from toolkit.optimize import weighing
from toolkit.optimize.effort import EFFORTS, Effort
from toolkit.optimize.plan import SPACES, Plan, space_of
from toolkit.optimize.workshop import Workshop
from toolkit.predictor import Predictor
from toolkit.train import train
from toolkit.train.recipes import default_recipe
from toolkit.train.saving import save_trained

ROWS = {"train": 300, "validation": 60, "test": 60}
NETS: dict[tuple[str, str], Mapping[str, Any]] = {
    ("text", "transformer"): {
        "width": 144, "heads": (4, 4, 4), "head_width": 16, "feed_forward": (128, 128, 128), "vocabulary": 2000,
    },
    ("text", "lstm"): {"width": 64, "hidden": 64, "vocabulary": 2000},
    ("text", "textcnn"): {"width": 64, "filters": (32, 32, 32), "vocabulary": 2000},
    ("text", "mlp"): {"buckets": 4096, "width": 32},
    ("image", "cnn"): SIZES,
    ("recommend", "recommender"): {"width": 16, "hidden": (64, 32)},
}  # fmt: skip
SOURCES = {"text": "trec", "image": "digits", "recommend": "movielens-100k"}
# a model that came as an exported file, by task: this kind of net before the door
EXPORTED = {"text": "transformer", "image": "cnn", "recommend": "recommender"}
CASES = [(task, kind, family) for (task, kind), space in SPACES.items() for family in space]


@dataclass(frozen=True)
class Model:
    """Data, and a classifier of it as it was trained and as it was exported."""

    data: Data
    trained: Artifact
    exported: Artifact


@pytest.fixture(scope="module", autouse=True)
def one_epoch(short_work: None) -> Iterator[None]:
    """An epoch, and times of single rows that nobody will quote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EFFORTS, "short", Effort(dict.fromkeys(EFFORTS["short"].epochs, 1), 1, 0))
        patch.setattr(weighing, "SECONDS", 0.05)
        patch.setattr(weighing, "P99_SAMPLES", 50)
        gc.collect()
        gc.freeze()  # each timing collects first, and the libraries are a million objects
        yield
        gc.unfreeze()


@pytest.fixture(scope="module")
def model_of(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Model]:
    """A small model by task and kind of net, trained once."""
    models: dict[tuple[str, str], Model] = {}

    def make(task: str, kind: str) -> Model:
        if (task, kind) not in models:
            folder = tmp_path_factory.mktemp(kind)
            if task == "image":
                data, trained = digits.data, digits.artifact
            else:
                data = few_rows(load_data(SOURCES[task]))
                recipe = replace(default_recipe(kind), epochs=2, threads=1, precision="fp32")
                classifier = train(data, net=kind, sizes=NETS[task, kind], recipe=recipe).classifier
                (folder / "trained").mkdir()
                trained = save_trained(classifier, data, folder / "trained")
            (folder / "exported").mkdir()
            examples = data.split("validation").examples
            exported, _ = export(load_classifier(trained), folder / "exported", examples=examples)
            models[task, kind] = Model(data, trained, exported)
        return models[task, kind]

    return make


def few_rows(data: Data) -> Data:
    return replace(data, splits={name: data.split(name).take(range(rows)) for name, rows in ROWS.items()})


def smallest(task: str, kind: str, family: str) -> Plan:
    """The first value of each choice, which is the smallest."""
    choices = space_of(task, kind)[family]
    return Plan.of(family, **{name: values[0] for name, values in choices.items()})


@pytest.mark.parametrize(("task", "kind", "family"), CASES)
def test_a_family_is_measured_and_made(
    model_of: Callable[[str, str], Model], task: str, kind: str, family: str, tmp_path: Path
) -> None:
    model = model_of(task, kind or EXPORTED[task])
    came = model.trained if kind else model.exported
    shop = Workshop(came, model.data, tmp_path, seed=0, threads=1)
    assert shop.students.kind == kind
    plan = smallest(task, kind, family)
    product = shop.make(plan)
    assert bool(product.curve) == plan.trains
    validation = model.data.split("validation")
    for made in product.made:
        artifact = load_artifact(tmp_path / made.folder)
        assert (artifact.digest, artifact.spec.labels) == (made.digest, model.data.labels)
        assert 0.0 <= made.score <= 1.0
        assert math.isfinite(made.cost.mean_ms)
        with Predictor.load(artifact) as predictor:
            assert {answer.label for answer in predictor(validation.examples[:5])} <= set(model.data.labels)
    assert product.made[0].form == "fp32"
    assert product.made[1].form == "int8"
    assert all(made.cost.size_bytes < product.made[0].cost.size_bytes for made in product.made[1:])
    assert not list(came.folder.parent.glob("*.npy")), "nothing is written beside what came"
    if plan.trains:
        # an untrained net of the plan's shape must weigh what the trained one does, or shapes would mislead;
        # how many golden rows there are depends on the answers, and they are pictures of some size
        shape = shop.measure_shape(plan)
        weighed = [made.cost.size_bytes for made in product.made]
        assert min(abs(shape.size_bytes - size) / size for size in weighed) < 0.1


def test_a_net_too_small_for_8_bits_keeps_its_float_form(model_of: Callable[[str, str], Model], tmp_path: Path) -> None:
    data = model_of("text", "mlp").data
    recipe = replace(default_recipe("mlp"), epochs=1, threads=1, precision="fp32")
    classifier = train(data, net="mlp", sizes={"buckets": 100, "width": 4, "hidden": (8,)}, recipe=recipe).classifier
    (tmp_path / "came").mkdir()
    came = save_trained(classifier, data, tmp_path / "came")
    product = Workshop(came, data, tmp_path / "search", seed=0, threads=1).make(Plan.of("quantize"))
    assert [made.form for made in product.made] == ["fp32"]


@pytest.mark.parametrize("trim", [0, 1])
def test_a_cut_net_is_pulled_back_to_the_states_of_what_it_was_cut_out_of(
    model_of: Callable[[str, str], Model], trim: int, tmp_path: Path
) -> None:
    model = model_of("text", "transformer")
    shop = Workshop(model.trained, model.data, tmp_path, seed=0, threads=1)
    plan = Plan.of("prune", keep=0.5, layers=2, trim=trim, embedding=128)
    trained, _ = shop.train(plan, effort="short")
    base, made = shop.students.base(trim), load_classifier(trained)
    step = made.steps[-1]
    assert (step.name, step.settings["hidden"]) == ("distill", True)
    assert step.settings["teacher"] == digest_of_weights(base.net)
    assert [step.name for step in made.steps] == ["train", *(["trim_vocabulary"] if trim else []), "distill"]
    assert encoder_files(made.encoder) == encoder_files(base.encoder)
    assert made.net.sizes.embedding == 128
    assert made.net.sizes.vocabulary == base.net.sizes.vocabulary
    answers = len(list((tmp_path / "answers").iterdir()))
    shop.train(Plan.of("prune", keep=0.25, layers=2, trim=trim), effort="short")
    assert len(list((tmp_path / "answers").iterdir())) == answers, "the teacher is asked once, whatever learns from it"


def test_what_was_made_is_found_again(model_of: Callable[[str, str], Model], tmp_path: Path) -> None:
    model, plan, stages = model_of("text", "mlp"), smallest("text", "mlp", "mlp"), list[str]()
    first = Workshop(model.trained, model.data, tmp_path, seed=0, threads=1).make(plan)
    again = Workshop(
        model.trained, model.data, tmp_path, seed=0, threads=1, progress=lambda stage, *_: stages.append(stage)
    ).make(plan)
    assert [made.digest for made in again.made] == [made.digest for made in first.made]
    assert again.curve == first.curve
    assert "train" not in stages


@pytest.mark.parametrize(("task", "kind"), [("image", "cnn"), ("text", "transformer")])
def test_the_forms_for_a_gpu_are_written_judged_and_kept(
    model_of: Callable[[str, str], Model], tmp_path: Path, task: str, kind: str
) -> None:
    """Timed on the CPU here, which says nothing of a GPU; that they are whole and answer is what it shows."""
    model = model_of(task, kind)
    workshop = Workshop(model.exported, model.data, tmp_path, seed=0, threads=1)
    plan = Plan.of("quantize")
    made = workshop.write_for_gpu(plan, "short", model.exported)
    assert [one.form for one in made] == ["fp16", "int8", "fp8"]
    for one in made:
        artifact = load_artifact(tmp_path / one.folder)
        assert artifact.core.precision == one.form
        assert artifact.core.steps[-1].name == "build"
        assert artifact.digest == one.digest
        assert abs(one.score - workshop.reference[0].score) < 0.1
    begun = [(tmp_path / one.folder / "artifact.json").stat().st_mtime_ns for one in made]
    again = workshop.write_for_gpu(plan, "short", model.exported)
    assert [one.digest for one in again] == [one.digest for one in made]
    assert [(tmp_path / one.folder / "artifact.json").stat().st_mtime_ns for one in again] == begun, "made once"
