"""Searching a recorded table: the same code as a real search, on costs and curves that are known."""

from __future__ import annotations

import numpy as np
import pytest
from search_samples import cost

from benchmarks.replay import Recorded, best_by, choose_randomly, interval, search
from toolkit.optimize.budget import Budget
from toolkit.optimize.plan import Plan, enumerate_plans
from toolkit.optimize.trial import MADE, Made, Point, Trial

pytest.importorskip("optuna", reason="the optimize extra is not installed")
SPACE = {"prune": {"layers": (1, 2, 3, 4, 5, 6), "keep": (0.25, 0.5, 1.0)}}


def recorded(plan: Plan) -> Trial:
    """More weights are slower, larger, better and longer to train."""
    weights = plan.get("layers") * plan.get("keep")
    score, found = 0.95 - 0.1 / (1 + weights), cost(0.2 * plan.get("layers"), size=int(1e6 * weights))
    curve = (Point(0.5, score - 0.02, 10.0 * weights), Point(1.0, score, 20.0 * weights))
    made = (Made("int8", "", plan.words.ljust(64), score, found),)
    return Trial(0, plan, MADE, "made", shape=found, curve=curve, made=made, seconds=20.0 * weights)


TABLE = Recorded(
    SPACE, 0.95, 1000, (Made("int8", "", "1" * 64, 0.95, cost(3.0, size=20_000_000)),),
    {plan: recorded(plan) for plan in enumerate_plans(SPACE)}, {},
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_the_search_ends_with_the_best_of_the_table_and_needs_less_time_than_the_whole(seed: int) -> None:
    found = search(TABLE, Budget(max_drop=0.03), seed)
    best = best_by(choose_randomly(TABLE, seed), float("inf"), TABLE, 0.03, {})
    assert best_by(found, float("inf"), TABLE, 0.03, {}) == best
    assert found[-1].seconds < TABLE.seconds


def test_a_cascade_counts_from_when_both_its_members_were_found() -> None:
    found = choose_randomly(TABLE, 0)
    first, second = found[1], found[4]
    pairs = {(second.made.digest, first.made.digest): 0.01}
    assert best_by(found, second.seconds, TABLE, 0.03, pairs) == 0.01
    assert best_by(found, second.seconds - 1e-6, TABLE, 0.03, pairs) > 0.01


def test_random_choice_trains_everything_once_in_an_order_of_its_seed() -> None:
    first, second = (choose_randomly(TABLE, seed) for seed in (0, 1))
    assert first[-1].seconds == pytest.approx(TABLE.seconds) == pytest.approx(second[-1].seconds)
    assert len(first) == len(TABLE.trials) + 1
    assert [f.made for f in first] != [f.made for f in second]


def test_before_anything_is_trained_all_have_the_quantized_model() -> None:
    assert best_by(search(TABLE, Budget(max_drop=0.03), 0), 0.0, TABLE, 0.03, {}) == 3.0


def test_the_interval_holds_the_mean_of_equal_ratios() -> None:
    low, high = interval(np.log(np.full(20, 1.5)))
    assert low == pytest.approx(1.5) == pytest.approx(high)
