"""A percentile is a real sample and is given only where ten lie beyond it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.measure.samples import PERCENTILES, drift, percentile_ms, summarize


@pytest.mark.parametrize(("name", "enough"), [("p50_ms", 20), ("p90_ms", 100), ("p99_ms", 1000), ("p99_9_ms", 10_000)])
def test_enough_samples_and_one_fewer(name: str, enough: int) -> None:
    assert percentile_ms(range(enough), name) is not None
    assert percentile_ms(range(enough - 1), name) is None


def test_percentiles_are_nearest_ranks_in_milliseconds() -> None:
    samples = [i * 1_000_000 for i in range(10_000, 0, -1)]  # 1 to 10,000 ms
    assert [percentile_ms(samples, name) for name in PERCENTILES] == [5000, 9000, 9900, 9990]


@given(st.lists(st.integers(1, 10**9), min_size=20, max_size=300))
def test_a_percentile_is_a_sample_with_its_share_at_or_below(samples: list[int]) -> None:
    for name, beyond in PERCENTILES.items():
        value = percentile_ms(samples, name)
        if value is None:
            continue
        found = round(value * 1e6)
        assert found in samples
        assert sum(s <= found for s in samples) * 1000 >= len(samples) * (1000 - beyond)
        assert sum(s < found for s in samples) * 1000 < len(samples) * (1000 - beyond)


def test_a_summary_by_hand() -> None:
    value = summarize([1_000_000, 2_000_000, 6_000_000])
    assert (value["samples"], value["mean_ms"], value["min_ms"], value["max_ms"]) == (3, 3.0, 1.0, 6.0)
    assert value["rows_per_second"] == pytest.approx(1000 / 3)
    assert value["p50_ms"] is None


def test_drift_compares_the_thirds_in_the_order_measured() -> None:
    steady, slower = [100] * 20, [150] * 20
    assert drift(steady + steady + slower) == pytest.approx(1.5)
    assert drift(slower + steady + steady) == pytest.approx(1 / 1.5)
    assert drift(steady * 2) is None
    assert math.isclose(drift([*steady, *slower, *steady]) or 0, 1)
