"""Labels that mean nothing raise the warning, labels that mean something do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from trec_cases import make_recipe, minilm, trec_rows

from toolkit.data import Split
from toolkit.train.fit import Fitted, fit
from toolkit.train.overfitting import Epoch, watch_overfitting


def _fit(shuffled: bool) -> Fitted:
    net, encoder = minilm(1)
    train, validation = trec_rows()
    if shuffled:
        chance = np.random.default_rng(0)
        train, validation = (Split(part.examples, chance.permutation(part.labels)) for part in (train, validation))
    return fit(net, encoder, train, validation, make_recipe(epochs=6, dropout=0.1))


def test_shuffled_labels_are_noticed() -> None:
    fitted = _fit(shuffled=True)
    assert fitted.log[-1].train_accuracy > 0.8  # learned by heart, so there is something to notice
    assert any("check the labels" in warning for warning in fitted.warnings)


def test_true_labels_are_not_accused() -> None:
    fitted = _fit(shuffled=False)
    assert fitted.log[-1].train_accuracy > 0.8
    assert fitted.log[-1].validation_accuracy > 0.5
    assert fitted.warnings == ()


GOOD = Epoch(
    epoch=1, step=10, learning_rate=1e-4, loss=0.5, gradient_norm=1.0, train_loss=0.5, train_accuracy=0.9,
    validation_loss=0.6, validation_accuracy=0.85, seconds=1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "rows", "warned"),
    [
        ({}, 500, False),
        ({"validation_accuracy": 0.3}, 500, True),  # 0.1 of 0.7 above chance came along
        ({"validation_accuracy": 0.56}, 500, False),  # just more than half of it did
        ({"validation_accuracy": 0.54}, 500, True),
        ({"train_accuracy": 0.35, "validation_accuracy": 0.22}, 500, False),  # nothing learned yet
        ({"validation_accuracy": 0.3}, 3, False),  # on three rows a gap is chance
    ],
)
def test_the_rule_on_accuracies(change: dict[str, float], rows: int, warned: bool) -> None:
    warnings = watch_overfitting([replace(GOOD, **change)], chance=0.2, rows=rows)
    assert [warning.startswith("overfitting: ") for warning in warnings] == [True] * warned


@pytest.mark.parametrize(("validation", "train", "warned"), [(1.3, 0.1, True), (1.1, 0.1, False), (1.3, 0.4, False)])
def test_the_rule_on_losses(validation: float, train: float, warned: bool) -> None:
    later = replace(GOOD, epoch=2, validation_loss=validation, train_loss=train)
    warnings = watch_overfitting([GOOD, later], chance=0.2, rows=500)
    assert ["validation loss rose" in warning for warning in warnings] == [True] * warned


def test_an_empty_log_says_nothing() -> None:
    assert watch_overfitting([], chance=0.2, rows=500) == ()
