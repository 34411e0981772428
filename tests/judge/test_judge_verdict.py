"""The three words, and when a command fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import RecipeError
from toolkit.judge.statistics import Estimate, paired_interval
from toolkit.judge.verdict import CANNOT_TELL, PASS, WORSE, decide


@pytest.mark.parametrize(
    ("value", "low", "high", "answer", "failed", "failed_strictly"),
    [
        (0.0, -0.005, 0.005, PASS, False, False),
        (-0.005, -0.01, 0.0, PASS, False, False),  # the lower end exactly on the margin
        (-0.04, -0.06, -0.02, WORSE, True, True),
        (0.0, -0.02, 0.02, CANNOT_TELL, False, True),
        (-0.01, -0.03, 0.01, CANNOT_TELL, False, True),  # the difference exactly on the margin
        (-0.015, -0.03, -0.01, CANNOT_TELL, True, True),
    ],
)
def test_words_and_exits(
    value: float, low: float, high: float, answer: str, failed: bool, failed_strictly: bool
) -> None:
    difference = Estimate(value, low, high)
    verdict = decide(difference, metric="accuracy", max_drop=0.01, rows_needed=4321)
    assert (verdict.answer, verdict.failed) == (answer, failed)
    assert decide(difference, metric="accuracy", max_drop=0.01, strict=True).failed is failed_strictly
    assert ("4,321 rows would" in verdict.words) == (answer == CANNOT_TELL)
    assert verdict.rows_needed == (4321 if answer == CANNOT_TELL else None)


def test_a_tie_with_the_margin_says_that_no_rows_would_help() -> None:
    verdict = decide(Estimate(-0.01, -0.03, 0.01), metric="accuracy", max_drop=0.01)
    assert verdict.words == "cannot tell, no number of rows would"
    assert verdict.to_json()["rows_needed"] is None


@given(st.integers(0, 60), st.integers(0, 60), st.lists(st.floats(0, 0.5), min_size=2, max_size=2), st.booleans())
def test_a_wider_margin_never_makes_a_verdict_worse(gained: int, lost: int, margins: list[float], strict: bool) -> None:
    difference = paired_interval(gained, lost, 400)
    narrow, wide = (decide(difference, metric="accuracy", max_drop=m, strict=strict) for m in sorted(margins))
    order = [WORSE, CANNOT_TELL, PASS]
    assert order.index(narrow.answer) <= order.index(wide.answer)
    assert narrow.failed >= wide.failed


@pytest.mark.parametrize("margin", [-0.01, 1.0, 5.0, float("nan")])
def test_a_margin_that_is_no_share_is_refused(margin: float) -> None:
    with pytest.raises(RecipeError, match=r"0\.01 is one point"):
        decide(Estimate(0, -0.1, 0.1), metric="accuracy", max_drop=margin)


def test_an_equal_model_passes_a_point_on_a_thousand_rows_one_time_in_four() -> None:
    """The design's own warning: 2.5 % discordant rows, no true difference."""
    import numpy as np

    drawn = np.random.default_rng(0).multinomial(1000, [0.0125, 0.0125, 0.975], size=400)
    passed = [
        decide(paired_interval(g, lo, 1000), metric="accuracy", max_drop=0.01).answer == PASS for g, lo, _ in drawn
    ]
    assert 0.1 < sum(passed) / 400 < 0.6
