"""The learning rate rises from almost nothing to the recipe's and falls again, and never reaches 0 in a step."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from toolkit.train.recipes import Recipe
from toolkit.train.schedule import learning_rate_at


def _rates(total: int, **settings: object) -> list[float]:
    recipe = Recipe(learning_rate=1.0, **settings)  # type: ignore[arg-type]  # one name at a time
    return [learning_rate_at(step, total, recipe) for step in range(total)]


def test_warm_up_is_linear_and_ends_at_the_recipes_rate() -> None:
    assert _rates(10, warmup=0.4, decay="none") == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_linear_decay_would_reach_zero_after_the_last_step() -> None:
    assert _rates(5, warmup=0.2, decay="linear") == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_falls_all_the_way_and_stays_above_zero(decay: str) -> None:
    rates = _rates(100, warmup=0.1, decay=decay)[10:]
    assert all(first > second > 0 for first, second in pairwise(rates))
    assert rates[-1] < 0.02


def test_cosine_is_torchs_own() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert _rates(20, warmup=0.0, decay="cosine") == pytest.approx(expected, abs=1e-6)


def test_a_run_of_one_step_still_learns() -> None:
    assert _rates(1, warmup=0.1, decay="linear") == [1.0]
