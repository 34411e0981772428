"""Intervals of ratios: against what can be counted exactly, turned over, seeded, and where they cannot be had."""

from __future__ import annotations

import math
from itertools import product
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import DataError
from toolkit.measure.bootstrap import Interval, noise_floor, paired_ratio, unpaired_ratio

TIMES = st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=12)
PAIRS = st.lists(st.tuples(st.floats(1e-3, 1e4), st.floats(1e-3, 1e4)), min_size=1, max_size=12)


def exact_ends(values: list[float], level: float) -> tuple[float, float]:
    """The interval by every resample there is, instead of by chance."""
    medians = np.sort([median(drawn) for drawn in product(values, repeat=len(values))])
    tail = (1 - level) / 2
    return float(np.quantile(medians, tail, method="lower")), float(np.quantile(medians, 1 - tail, method="higher"))


@pytest.mark.parametrize("rounds", [3, 4, 5, 6])
@pytest.mark.parametrize("level", [0.7, 0.95])
def test_the_ends_are_those_of_all_resamples(rounds: int, level: float) -> None:
    values = np.random.default_rng(rounds).lognormal(size=rounds).tolist()
    found = paired_ratio(values, [1.0] * rounds, level=level)
    logs = exact_ends([math.log(value) for value in values], level)
    assert (found.low, found.high) == pytest.approx(tuple(map(math.exp, logs)))
    assert found.ratio == pytest.approx(math.exp(median(map(math.log, values))))


@pytest.mark.parametrize(
    ("rounds", "held"), [(5, 0.9375), (7, 0.875), (9, 0.961), (11, 0.935), (13, 0.908), (15, 0.965), (31, 0.929)]
)
def test_how_often_the_interval_holds_the_truth_is_what_the_module_says(rounds: int, held: float) -> None:
    """Counted by the ranks of its ends: how many rounds lie below the true median is that many tosses of a coin."""
    ranks = np.arange(1, rounds + 1)
    found = paired_ratio(np.exp(ranks), np.ones(rounds))
    low, high = round(math.log(found.low)), round(math.log(found.high))
    inside = sum(math.comb(rounds, below) for below in range(low, high)) / 2**rounds
    assert inside == pytest.approx(held, abs=5e-4)


def test_real_noise_is_held_as_often_as_that() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        times, against = generator.lognormal(0.3, 0.1, 5), generator.lognormal(0, 0.1, 5)
        found = paired_ratio(times, against, seed=trial)
        held += found.low <= math.exp(0.3) <= found.high
    assert 0.90 <= held / 400 <= 0.97  # 0.9375, give or take three deviations


def test_two_runs_are_resampled_each_by_itself() -> None:
    # paired, the drift of both runs would cancel; these rounds are no pairs and it must not
    drifting = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert paired_ratio(drifting, drifting) == Interval(1.0, 1.0, 1.0)
    found = unpaired_ratio(drifting, drifting)
    assert found.ratio == 1.0
    assert found.low < 0.6
    assert found.high > 1.7
    assert unpaired_ratio([2.0] * 7, [1.0] * 5) == Interval(2.0, 2.0, 2.0)


@settings(max_examples=50)
@given(PAIRS, st.integers(0, 5))
def test_the_ratio_lies_in_its_interval_and_the_interval_among_the_rounds(
    pairs: list[tuple[float, float]], seed: int
) -> None:
    times, against = [first for first, _ in pairs], [second for _, second in pairs]
    found = paired_ratio(times, against, seed=seed)
    ratios = [first / second for first, second in pairs]
    assert min(ratios) * (1 - 1e-9) <= found.low <= found.ratio <= found.high <= max(ratios) * (1 + 1e-9)
    assert paired_ratio(times[::-1], against[::-1], seed=seed) == found
    assert paired_ratio(against, times, seed=seed).ratio == pytest.approx(1 / found.ratio)


@settings(max_examples=50)
@given(TIMES, TIMES, st.floats(0.01, 100))
def test_another_unit_changes_nothing(times: list[float], against: list[float], unit: float) -> None:
    found = unpaired_ratio(times, against)
    other = unpaired_ratio([unit * time for time in times], [unit * time for time in against])
    assert (other.ratio, other.low, other.high) == pytest.approx((found.ratio, found.low, found.high))


def test_a_seed_repeats_itself() -> None:
    times, against = np.random.default_rng(1).lognormal(size=(2, 25))
    assert paired_ratio(times, against, seed=3) == paired_ratio(times, against, seed=3)
    assert unpaired_ratio(times, against, seed=3) == unpaired_ratio(times, against, seed=3)


def test_the_noise_floor_is_the_end_further_from_one() -> None:
    assert noise_floor([1.0] * 5, [1.0] * 5) == 1.0
    assert noise_floor([1.0] * 5, [1.25] * 5) == pytest.approx(1.25)
    assert noise_floor([1.0, 1.0, 1.0, 1.0, 1.1], [1.0, 1.0, 1.0, 1.0, 1.0]) == pytest.approx(1.1)


@settings(max_examples=50)
@given(PAIRS)
def test_the_noise_floor_is_at_least_one_and_the_same_turned_over(pairs: list[tuple[float, float]]) -> None:
    times, again = [first for first, _ in pairs], [second for _, second in pairs]
    floor = noise_floor(times, again)
    assert floor >= 1
    assert not paired_ratio(times, again).beyond(floor)
    if len(pairs) <= 5:  # more rounds leave it to chance which resamples are drawn
        assert noise_floor(again, times) == pytest.approx(floor)


def test_beyond_means_the_whole_interval_either_way() -> None:
    assert Interval(1.2, 1.11, 1.3).beyond(1.1)
    assert not Interval(1.2, 1.09, 1.3).beyond(1.1)
    assert Interval(0.8, 0.7, 0.9).beyond(1.1)
    assert not Interval(0.8, 0.7, 0.92).beyond(1.1)
    assert not Interval(1.0, 1.0, 1.0).beyond(1.0)
    assert Interval(1.2, 1.1, 1.3).to_json() == {"ratio": 1.2, "low": 1.1, "high": 1.3}


def test_what_is_no_set_of_rounds_is_refused() -> None:
    with pytest.raises(DataError, match="no round to compare"):
        paired_ratio([], [])
    with pytest.raises(DataError, match="2 rounds against 1 are no pairs"):
        paired_ratio([1.0, 2.0], [1.0])
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="is no time"):
            unpaired_ratio([1.0, bad], [1.0])
