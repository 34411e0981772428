"""Counts that decide whether a bound holds, against exact arithmetic and against what LoadGen itself printed."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import RecipeError
from toolkit.measure.early_stopping import decide, holds, late_allowed, least_bound_ms, queries_needed


def exact_up_to(count: int, draws: int, share: Fraction) -> Fraction:
    """The binomial distribution function in whole numbers."""
    late, of = share.numerator, share.denominator
    ways = sum(math.comb(draws, i) * late**i * (of - late) ** (draws - i) for i in range(count + 1))
    return Fraction(ways, of**draws)


def test_the_counts_that_mlperf_prints() -> None:
    assert queries_needed(0) == 459
    assert queries_needed(1) == 662
    assert queries_needed(1, 0.9) == 64
    # LoadGen 6.0.17 on 985 queries with 19 late: "would need to run at least 2194 more"
    assert queries_needed(19) == 985 + 2194
    # and on 5,025 at p90: "would discard 452 highest latency queries", which is one to be on the safe side
    assert late_allowed(5025, 0.9) == 453
    assert exact_up_to(453, 5025, Fraction(1, 10)) <= Fraction(1, 100) < exact_up_to(454, 5025, Fraction(1, 10))


def test_one_query_decides() -> None:
    assert holds([1.0] * 459, 2.0) is True
    assert holds([1.0] * 458, 2.0) is None
    assert holds([1.0] * 661 + [3.0], 2.0) is True
    assert holds([1.0] * 660 + [3.0], 2.0) is None
    assert holds([1.0] * 9 + [3.0] * 2, 2.0) is False  # two of eleven late: 0.5 % if the p99 held
    assert holds([], 2.0) is None


def test_what_was_never_answered_is_late() -> None:
    assert holds([1.0] * 1000 + [math.inf] * 40, 2.0) is False
    assert holds([1.0] * 1000 + [math.nan] * 40, 2.0) is False
    assert holds([2.0] * 459, 2.0) is True  # at the bound is within it


@settings(deadline=None)
@given(
    st.integers(0, 120),
    st.integers(0, 120),
    st.sampled_from((0.5, 0.75, 0.9, 0.95)),
    st.sampled_from((0.9, 0.95, 0.99)),
)
def test_it_decides_as_exact_arithmetic_does(queries: int, late: int, percentile: float, confidence: float) -> None:
    late = min(late, queries)
    share, rest = Fraction(percentile).limit_denominator(100), 1 - Fraction(confidence).limit_denominator(100)
    few = exact_up_to(late, queries, 1 - share)
    many = exact_up_to(queries - late, queries, share)
    if min(abs(few - rest), abs(many - rest)) < 1e-9:
        return  # a float may fall on either side
    assert decide(queries, late, percentile, confidence) is (True if few <= rest else False if many <= rest else None)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.sampled_from((0.9, 0.99, 0.999)))
def test_what_is_needed_and_what_is_allowed_are_one_another(late: int, percentile: float) -> None:
    needed = queries_needed(late, percentile)
    assert late_allowed(needed, percentile) == late
    before = late_allowed(needed - 1, percentile)
    assert before == (late - 1 if late else None)
    assert needed >= late / (1 - percentile)  # fewer late ones than the share itself


def test_the_least_bound_is_a_latency_that_holds_while_the_next_lower_does_not() -> None:
    latencies = np.random.default_rng(3).exponential(5.0, 2000)
    bound = least_bound_ms(latencies)
    assert bound in latencies
    assert holds(latencies, bound) is True
    assert holds(latencies, float(np.sort(latencies)[np.searchsorted(np.sort(latencies), bound) - 1])) is not True
    assert bound >= np.quantile(latencies, 0.99)
    assert least_bound_ms(latencies[:458]) is None


def test_a_bound_that_does_not_hold_passes_once_in_a_hundred_at_most() -> None:
    """The confidence is real: late queries at just over one in a hundred, 4,000 runs of 1,500."""
    late = np.random.default_rng(0).binomial(1500, 0.0101, size=4000)
    passed = np.mean([decide(1500, int(count)) is True for count in late])
    assert 0 < passed < 0.014
    held = np.random.default_rng(1).binomial(1500, 0.001, size=4000)
    assert np.mean([decide(1500, int(count)) is True for count in held]) > 0.99


def test_a_million_queries_are_no_trouble() -> None:
    assert decide(1_000_000, 9_700) is True
    assert decide(1_000_000, 10_000) is None
    assert decide(1_000_000, 10_400) is False


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(RecipeError, match="bound is 0"):
        holds([1.0], 0)
    with pytest.raises(RecipeError, match="shares between 0 and 1"):
        holds([1.0], 1, percentile=99)
    with pytest.raises(RecipeError, match="shares between 0 and 1"):
        late_allowed(10, confidence=1.0)
    with pytest.raises(RecipeError, match="3 late of 2"):
        decide(2, 3)
