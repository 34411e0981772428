"""A small residual cnn trained on real digits: what the searches of these tests begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from toolkit.artifact import Artifact
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.train import train
from toolkit.train.recipes import default_recipe
from toolkit.train.saving import save_trained

SIZES = {"channels": 1, "stages": (16, 32), "inner": ((32,), (64,))}


@dataclass(frozen=True)
class Digits:
    """Data and the artifact of a classifier trained on it."""

    data: Data
    artifact: Artifact


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    whole = load_data("digits")
    data = replace(whole, splits={**whole.splits, "train": whole.split("train").take(range(400))})
    recipe = replace(default_recipe("cnn"), epochs=4, threads=1, precision="fp32")
    folder = tmp_path_factory.mktemp("optimize") / "digits"
    folder.mkdir()
    classifier = train(data, net="cnn", sizes=SIZES, recipe=recipe).classifier
    return Digits(data, save_trained(classifier, data, folder))
