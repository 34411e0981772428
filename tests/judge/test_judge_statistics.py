"""Intervals against published values, brute force and simulation; never against themselves."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.judge.statistics import (
    MAX_ROWS,
    calibration_error,
    constrained_lost,
    holm,
    mcnemar_p,
    paired_interval,
    rows_to_decide,
    wilson_interval,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    rows = draw(st.integers(1, 5000))
    gained = draw(st.integers(0, rows))
    return gained, draw(st.integers(0, rows - gained)), rows


@pytest.mark.parametrize(
    ("gained", "lost", "rows", "level", "low", "high"),
    [
        # airway hyper-responsiveness, Fagerland, Lydersen & Laake 2014, table of intervals: Tango
        (1, 7, 21, 0.95, -0.517, -0.026),
        # R, PropCIs::scoreci.mp(25, 28, 618), printed by its user to four places
        (28, 25, 618, 0.90, -0.0148, 0.0247),
    ],
)
def test_tango_gives_the_published_intervals(
    gained: int, lost: int, rows: int, level: float, low: float, high: float
) -> None:
    interval = paired_interval(gained, lost, rows, level=level)
    places = 3 if level == 0.95 else 4
    assert (round(interval.low, places), round(interval.high, places)) == (low, high)


@pytest.mark.parametrize(("gained", "lost", "rows"), [(3, 9, 40), (0, 5, 60), (5, 0, 60), (0, 0, 30), (20, 11, 31)])
@pytest.mark.parametrize("difference", [-0.3, -0.05, 0.02, 0.2])
def test_the_constrained_maximum_is_the_one_brute_force_finds(
    gained: int, lost: int, rows: int, difference: float
) -> None:
    """The multinomial likelihood over a fine grid of all tables whose shares differ by `difference`."""
    share_lost = np.linspace(max(0.0, -difference), (1 - difference) / 2, 400_001)
    cells = [
        (gained, share_lost + difference),
        (lost, share_lost),
        (rows - gained - lost, 1 - 2 * share_lost - difference),
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = sum(np.where(count == 0, 0.0, count * np.log(np.maximum(share, 0))) for count, share in cells)
    assert constrained_lost(gained, lost, rows, difference) == pytest.approx(share_lost[likelihood.argmax()], abs=3e-6)


@given(tables())
def test_the_ends_are_where_the_score_test_starts_to_reject(table: tuple[int, int, int]) -> None:
    gained, lost, rows = table
    interval = paired_interval(gained, lost, rows)
    z = NormalDist().inv_cdf(0.975)
    for end in (interval.low, interval.high):
        if abs(end) == 1:
            continue
        variance = (2 * constrained_lost(gained, lost, rows, end) + end * (1 - end)) / rows
        assert abs(interval.value - end) / variance**0.5 == pytest.approx(z, rel=1e-5)


@given(tables())
def test_an_interval_holds_its_estimate_and_mirrors(table: tuple[int, int, int]) -> None:
    gained, lost, rows = table
    interval, mirrored = paired_interval(gained, lost, rows), paired_interval(lost, gained, rows)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high
    assert (mirrored.low, mirrored.value, mirrored.high) == (-interval.high, -interval.value, -interval.low)


def test_no_discordant_row_still_has_width_in_both_directions() -> None:
    z2 = NormalDist().inv_cdf(0.975) ** 2
    for rows in (10, 500, 100_000):
        interval = paired_interval(0, 0, rows)
        assert interval.high == pytest.approx(z2 / (rows + z2), rel=1e-9)  # the closed form at zero
        assert interval.low == -interval.high


def test_every_row_discordant_one_way_reaches_the_end() -> None:
    assert paired_interval(50, 0, 50).high == 1.0
    assert paired_interval(0, 50, 50).low == -1.0
    assert paired_interval(50, 0, 50).low > 0.8


@pytest.mark.parametrize(
    ("share_gained", "share_lost", "rows"), [(0.02, 0.02, 500), (0.01, 0.04, 200), (0.0, 0.03, 300)]
)
def test_tango_covers_the_truth_as_often_as_it_says(share_gained: float, share_lost: float, rows: int) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(rows, [share_gained, share_lost, 1 - share_gained - share_lost], size=3000)
    truth = share_gained - share_lost
    found, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    intervals = [paired_interval(int(gained), int(lost), rows) for gained, lost in found]
    covered = sum(
        n for interval, n in zip(intervals, times.tolist(), strict=True) if interval.low <= truth <= interval.high
    )
    assert 0.935 <= covered / 3000 <= 0.985


@pytest.mark.parametrize("table", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_a_table_that_cannot_be_is_refused(table: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        paired_interval(*table)


def test_wilson_gives_the_published_intervals() -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3."""
    for right, rows, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        interval = wilson_interval(right, rows)
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_wilson_holds_its_estimate_and_mirrors(rows: int, share: float) -> None:
    right = int(share * rows)
    interval, mirrored = wilson_interval(right, rows), wilson_interval(rows - right, rows)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)
    assert interval.high - interval.low > 0


def test_wilson_refuses_more_right_than_there_are() -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson_interval(6, 5)


@settings(max_examples=40)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_scipys_exact_binomial(gained: int, lost: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_p(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(gained, lost) == mcnemar_p(lost, gained)


def test_mcnemar_stands_many_rows() -> None:
    assert 0.9 < mcnemar_p(500_000, 500_010) <= 1
    assert 0 <= mcnemar_p(10, 100_000) < 1e-300


@pytest.mark.parametrize(
    ("gained", "lost", "rows", "margin"), [(4, 6, 500, 0.01), (1, 14, 500, 0.02), (0, 0, 100, 0.01), (3, 3, 50, 0.02)]
)
def test_the_rows_that_would_decide_do_and_one_fewer_do_not(gained: int, lost: int, rows: int, margin: float) -> None:
    needed = rows_to_decide(gained, lost, rows, margin)
    assert needed is not None
    assert needed > rows

    def ends(count: int) -> tuple[float, float]:
        interval = paired_interval(gained * count / rows, lost * count / rows, count)
        return interval.low, interval.high

    low, high = ends(needed)
    assert low >= -margin or high < -margin
    low, high = ends(needed - 1)
    assert low < -margin <= high


def test_rows_that_decide_already_are_enough_and_a_tie_with_the_margin_never_is() -> None:
    assert rows_to_decide(0, 0, 1000, 0.01) == 1000
    assert rows_to_decide(0, 10, 1000, 0.01) is None
    assert rows_to_decide(5, 5, 1000, 0.0) is None
    assert MAX_ROWS == 10**9


def test_calibration_error_by_hand() -> None:
    # bins of 1/15: .62 and .64 share (.6, .6667]; one of two right. .95 alone, wrong.
    probabilities = np.array([[0.62, 0.38], [0.64, 0.36], [0.05, 0.95]])
    labels = np.array([0, 1, 0])
    assert calibration_error(probabilities, labels) == pytest.approx((2 * abs(0.63 - 0.5) + 0.95) / 3)


def test_calibration_error_is_that_of_a_loop_over_bins() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(4), 500)
    labels = rng.integers(0, 4, 500)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(probabilities, labels) == pytest.approx(expected)


def test_labels_drawn_from_the_probabilities_are_calibrated_and_overconfidence_is_not() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 20_000)
    labels = (rng.random(20_000) > sure).astype(int)
    assert calibration_error(np.stack([sure, 1 - sure], 1), labels) < 0.015
    bold = np.sqrt(sure)
    assert calibration_error(np.stack([bold, 1 - bold], 1), labels) > 0.05


def test_holm_by_hand_and_in_any_order() -> None:
    """0.01, 0.04, 0.03, 0.005: times 4, 3, 2, 1 from the smallest, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.005, 0.01, 0.03, 0.04]) == pytest.approx((0.02, 0.03, 0.06, 0.06))
    assert holm([0.7, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_step_down_rejects(p_values: list[float]) -> None:
    adjusted, ordered = holm(p_values), sorted(p_values)
    reject = 0
    while reject < len(ordered) and ordered[reject] * (len(ordered) - reject) <= 0.05:
        reject += 1
    assert sum(p <= 0.05 for p in adjusted) == reject
    assert all(p <= q <= min(1.0, len(p_values) * p) for p, q in zip(p_values, adjusted, strict=True))
