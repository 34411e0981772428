"""A small residual cnn trained on real digits: what the searches of these tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from toolkit.artifact import Artifact
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.optimize import decision, weighing
from toolkit.optimize.effort import EFFORTS, Effort
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


@pytest.fixture(scope="module", autouse=True)
def short_work() -> Iterator[None]:
    """Trainings of an epoch and measurements of a part of a second: what is tested is the search, not its answer."""
    with pytest.MonkeyPatch.context() as patch:
        epochs = dict.fromkeys(EFFORTS["short"].epochs, 2)
        patch.setitem(EFFORTS, "short", Effort(epochs, 1, 0))
        patch.setitem(EFFORTS, "long", Effort(epochs, 2, 1))
        patch.setattr(decision, "SECONDS", 0.4)
        patch.setattr(decision, "ROUNDS", 2)
        patch.setattr(decision, "SECONDS_EACH", 0.1)
        patch.setattr(weighing, "SECONDS", 0.2)
        yield
