"""What `fit` promises besides its recipe: the best weights, the caller's state, refusals in one line."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trec_cases import fit_rows, make_recipe, minilm, trec_rows

from toolkit.data import Split
from toolkit.errors import DataError, RecipeError
from toolkit.train.batches import encode_rows
from toolkit.train.evaluation import evaluate
from toolkit.train.fit import fit
from toolkit.train.losses import CrossEntropy
from toolkit.train.parallel import World


def test_the_net_left_behind_is_the_best_on_validation_not_the_last() -> None:
    fitted = fit_rows(64, settings={"epochs": 5, "learning_rate": 5e-3, "decay": "none"})
    _, encoder = minilm(1)
    held = encode_rows(encoder, trec_rows()[1].take(range(16)))
    score = evaluate(fitted.net, held, CrossEntropy(), World())
    best = fitted.log[fitted.best_epoch - 1]
    assert score.accuracy == best.validation_accuracy == fitted.validation_accuracy
    assert score.loss == pytest.approx(best.validation_loss, rel=1e-5)
    assert best.validation_loss != fitted.log[-1].validation_loss
    assert not fitted.net.training


def test_it_learns() -> None:
    fitted = fit_rows(192, settings={"epochs": 3})
    assert fitted.log[-1].train_loss < 0.6 * fitted.log[0].train_loss
    assert fitted.seconds == fitted.log[-1].seconds > 0


def test_the_callers_random_states_are_given_back() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    fit_rows(16, settings={"dropout": 0.5})
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


def test_a_loss_of_the_callers_gets_labels_and_rows_that_belong_together() -> None:
    train = trec_rows()[0].take(range(48))
    seen: list[int] = []

    def loss(net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor) -> Tensor:
        assert labels.tolist() == train.labels[rows.numpy()].tolist()
        seen.extend(rows.tolist())
        return CrossEntropy()(net, inputs, labels, rows)

    fit_rows(48, loss=loss)
    assert sorted(seen) == list(range(48))


def test_what_cannot_be_trained_on_is_refused() -> None:
    net, encoder = minilm(1)
    train, validation = trec_rows()
    with pytest.raises(DataError, match="the validation split has no rows"):
        fit(net, encoder, train, validation.take([]), make_recipe())
    with pytest.raises(DataError, match="all training rows have one label"):
        fit(net, encoder, Split(train.examples, np.zeros_like(train.labels)), validation, make_recipe())


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    def broken(net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor) -> Tensor:
        return net(*inputs).sum() * float("nan")

    with pytest.raises(RecipeError, match=r"the loss is nan .* at step 1; use a lower learning_rate than"):
        fit_rows(16, loss=broken)
