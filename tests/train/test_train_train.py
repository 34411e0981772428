"""`train`: real data in, a classifier out that saves, loads and answers, with everything in its lineage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trec_cases import digest_of_weights

from toolkit.classifier import load_classifier, save_classifier
from toolkit.data import Data, hash_rows
from toolkit.data.loading import load_data
from toolkit.errors import RecipeError
from toolkit.predictor import Predictor
from toolkit.train import train
from toolkit.train.recipes import RECIPES, change_recipe

CASES = {
    "mlp": ("sms-spam", 600, {"epochs": 3}, {"buckets": 5000, "width": 16}),
    "lstm": ("sms-spam", 300, {"epochs": 2}, {"width": 16, "hidden": 16, "vocabulary": 800}),
    "transformer": ("sms-spam", 200, {"epochs": 1}, {"vocabulary": 800, "max_length": 32}),
    "cnn": ("digits", 600, {"epochs": 2}, {"stages": (8, 16), "inner": ((8,), (16,))}),
    "recommender": ("movielens-100k", 3000, {"epochs": 2}, {"width": 4, "hidden": (8,)}),
}


def _cut(name: str, rows: int) -> Data:
    """The first rows of each split of real data."""
    data = load_data(name)
    sizes = {"train": rows, "validation": rows // 4, "test": 20}
    return replace(data, splits={part: data.split(part).take(range(size)) for part, size in sizes.items()})


@pytest.mark.parametrize("net", CASES)
def test_every_net_trains_saves_and_answers(net: str, tmp_path: Path) -> None:
    name, rows, settings, sizes = CASES[net]
    data = _cut(name, rows)
    recipe = change_recipe(RECIPES[net], {**settings, "threads": 1})
    trained = train(data, net=net, recipe=recipe, sizes=sizes)
    classifier, test = trained.classifier, data.split("test").examples
    settings_of_step = dict(classifier.steps[0].settings)
    assert settings_of_step["recipe"] == recipe.resolve().to_json()
    assert (settings_of_step["net"], settings_of_step["start"]) == (net, None)
    assert classifier.split == data.record()
    assert classifier.training_rows is not None
    assert set(hash_rows(data.split("validation").examples)) <= set(classifier.training_rows)
    assert not set(hash_rows(test)) & set(classifier.training_rows)
    assert trained.fitted.log[-1].train_loss < 1.05 * np.log(len(data.labels))
    artifact = save_classifier(classifier, tmp_path / net, golden_examples=test[:4])
    with Predictor.load(artifact) as predictor:
        assert {prediction.label for prediction in predictor(test)} <= set(data.labels)
    assert digest_of_weights(load_classifier(artifact).net) == digest_of_weights(classifier.net)


def test_the_same_call_twice_is_the_same_classifier(tmp_path: Path) -> None:
    data = _cut("sms-spam", 200)
    recipe = change_recipe(RECIPES["lstm"], {"epochs": 1, "threads": 1})
    sizes = {"width": 8, "hidden": 8, "vocabulary": 500}
    artifacts = [
        save_classifier(train(data, net="lstm", recipe=recipe, sizes=sizes).classifier, tmp_path / str(time))
        for time in range(2)
    ]
    assert artifacts[0].digest == artifacts[1].digest


def test_a_warning_about_the_script_reaches_the_lineage() -> None:
    data = _cut("sms-spam", 40)
    amharic = {
        name: replace(split, examples=[f"ሰላም ዓለም {chr(0x1200 + row)}" for row in range(len(split))])
        for name, split in data.splits.items()
    }
    recipe = change_recipe(RECIPES["lstm"], {"epochs": 1, "threads": 1})
    trained = train(replace(data, splits=amharic), net="lstm", start="minilm", recipe=recipe, sizes={"hidden": 4})
    assert any("unknown to the tokenizer" in warning for warning in trained.warnings)
    assert trained.classifier.steps[0].settings["warnings"] == list(trained.warnings)
    assert trained.classifier.steps[0].settings["start"]["name"] == "minilm"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"net": "cnn"}, "net is 'cnn'; for text data allowed: mlp, lstm, textcnn, transformer"),
        ({"net": "mlp", "start": "minilm"}, "start is for: lstm, textcnn, transformer"),
    ],
)
def test_a_net_that_does_not_fit_the_data_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        train(_cut("sms-spam", 40), **arguments)


def test_pictures_and_records_start_from_nothing() -> None:
    with pytest.raises(RecipeError, match="a cnn starts from nothing, leave it out"):
        train(_cut("digits", 40), net="cnn", start="minilm")
