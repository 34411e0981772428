"""A budget says what is missed and by how much, and refuses limits that mean nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import RecipeError
from toolkit.optimize.budget import Budget, parse_bytes, parse_milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("5ms", 5.0), ("900us", 0.9), ("1s", 1000.0), (" 0.8 ms ", 0.8), (".5ms", 0.5)]
)
def test_times_are_read_with_their_unit(text: str, milliseconds: float) -> None:
    assert parse_milliseconds(text) == pytest.approx(milliseconds)


@pytest.mark.parametrize(("text", "size"), [("20MB", 20_000_000), ("512kB", 512_000), ("8MiB", 8 << 20), ("3 B", 3)])
def test_sizes_are_read_with_their_unit(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["5", "ms", "-5ms", "5 minutes", "5ms5ms", "", "nanms", "1e3ms"])
def test_a_quantity_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a time"):
        parse_milliseconds(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_drop": -0.1}, "max_drop is -0.1"),
        ({"max_drop": 1.0}, "max_drop is 1.0"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
        ({"max_p99_ms": 0.0}, "max_p99 is 0.0"),
        ({"max_size_bytes": -1}, "max_size is -1"),
        ({"hours": 0.0}, "hours is 0.0"),
        ({"hours": float("inf")}, "hours is inf"),
        ({"caution": -1.0}, "caution is -1.0"),
        ({"objective": "beauty"}, "objective is 'beauty'; allowed: speed, size"),
    ],
)
def test_an_impossible_budget_is_one_clear_line(settings: dict[str, float], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as error:
        Budget(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_every_limit_that_is_missed_is_named_with_its_figure() -> None:
    budget = Budget(max_drop=0.01, max_p99_ms=5.0, max_size_bytes=10_000_000)
    missed = budget.misses(drop=0.025, p99_ms=6.5, size_bytes=12_500_000)
    assert missed == (
        "loses 2.5 points, 1.5 too many", "p99 6.50 ms, 1.50 ms too slow", "12.5 MB, 2.5 MB too large",
    )  # fmt: skip


def test_caution_adds_standard_errors_to_a_drop() -> None:
    assert Budget(max_drop=0.01).misses(drop=0.005, p99_ms=None, size_bytes=0, error=0.004) == ()
    missed = Budget(max_drop=0.01).misses(drop=0.005, p99_ms=None, size_bytes=0, error=0.007)
    assert missed == ("loses 0.5 points and may lose 0.7 more, 0.2 too many",)
    assert Budget(max_drop=0.01, caution=0.0).misses(drop=0.005, p99_ms=None, size_bytes=0, error=0.1) == ()


def test_what_is_not_known_or_not_limited_is_not_missed() -> None:
    assert Budget().misses(drop=None, p99_ms=99.0, size_bytes=1e12) == ()
    assert Budget(max_p99_ms=1.0).misses(drop=0.0, p99_ms=None, size_bytes=0) == ()


@given(right=st.integers(0, 1000), lost=st.integers(0, 50))
def test_a_drop_of_exactly_the_limit_is_held(right: int, lost: int) -> None:
    """Accuracies are ratios of counts: their difference must not miss a limit by the last bit of a float."""
    drop = (right + lost) / 1100 - right / 1100
    assert Budget(max_drop=lost / 1100).misses(drop=drop, p99_ms=None, size_bytes=0) == ()


@given(drop=st.floats(-0.5, 0.9), p99=st.floats(0.01, 100), size=st.integers(1, 10**9))
def test_the_excess_is_zero_exactly_when_nothing_is_missed(drop: float, p99: float, size: int) -> None:
    budget = Budget(max_drop=0.01, max_p99_ms=5.0, max_size_bytes=10_000_000)
    missed = budget.misses(drop=drop, p99_ms=p99, size_bytes=size)
    assert (budget.excess(drop=drop, p99_ms=p99, size_bytes=size) == 0.0) == (not missed)
