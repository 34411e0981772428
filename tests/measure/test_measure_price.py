"""The cost of a million answers: by hand, in proportion, with its assumption in words."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import DataError, RecipeError
from toolkit.measure.price import check_price, cost_per_million, price_answers


def test_a_cost_by_hand() -> None:
    # 100 answers a second are 360,000 an hour; at 0.36 an hour each costs a millionth
    assert cost_per_million(100, 0.36) == pytest.approx(1.0)
    assert cost_per_million(100, 0.36, utilisation=0.5) == pytest.approx(2.0)
    assert cost_per_million(100, 0) == 0


@given(st.floats(1e-3, 1e6), st.floats(0, 1e3), st.floats(0.01, 1))
def test_it_is_in_proportion(rate: float, price: float, utilisation: float) -> None:
    cost = cost_per_million(rate, price, utilisation=utilisation)
    assert cost_per_million(2 * rate, price, utilisation=utilisation) == pytest.approx(cost / 2)
    assert cost_per_million(rate, 2 * price, utilisation=utilisation) == pytest.approx(2 * cost)
    # an hour of answers, priced by the million, is the hour's price
    assert cost * rate * utilisation * 3600 / 1e6 == pytest.approx(price)


def test_the_assumption_is_said() -> None:
    price = price_answers(250, 0.09, utilisation=0.4, basis="peak under 10 ms")
    assert price.assumes.startswith(
        "0.09 an hour for the machine, 250 answers a second (peak under 10 ms) during 40% of all time"
    )
    value = price.to_json()
    assert value == {
        "per_million": cost_per_million(250, 0.09, utilisation=0.4),
        "per_hour": 0.09,
        "rate": 250,
        "utilisation": 0.4,
        "basis": "peak under 10 ms",
        "assumes": price.assumes,
    }
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.parametrize("price", [-0.01, math.nan, math.inf])
def test_no_such_price(price: float) -> None:
    with pytest.raises(RecipeError, match="an hour cannot be; give a number, 0 or more"):
        check_price(price)
    with pytest.raises(RecipeError):
        cost_per_million(1, price)


@pytest.mark.parametrize("rate", [0, -5, math.nan, math.inf])
def test_nothing_answered_has_no_price(rate: float) -> None:
    with pytest.raises(DataError, match="measure a rate above 0"):
        cost_per_million(rate, 1)


@pytest.mark.parametrize("utilisation", [0, -0.1, 1.01, math.nan])
def test_a_utilisation_is_a_share(utilisation: float) -> None:
    with pytest.raises(RecipeError, match="is no share"):
        cost_per_million(1, 1, utilisation=utilisation)
