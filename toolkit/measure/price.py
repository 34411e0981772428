"""What a million answers cost, at a rate that was measured and an hourly price that somebody stated.

Nobody's list of prices is kept here: it would be out of date. The currency is the one of the price.

Limits: it assumes that the machine answers at the measured rate all the time. At half of that each
answer costs twice as much; a service that is asked little is priced by its quiet hours. `utilisation`
states another share, and the words of the result always say which. The price is taken for the whole
machine, whatever share of it was measured.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.errors import DataError, RecipeError


@dataclass(frozen=True)
class Price:
    """Cost of a million answers at `rate` answers a second, `utilisation` of all time, and `per_hour` for the machine.

    `basis` says which measured rate it is.
    """

    per_million: float
    per_hour: float
    rate: float
    utilisation: float
    basis: str

    @property
    def assumes(self) -> str:
        """What has to be so for the cost to be this."""
        return (
            f"{self.per_hour:g} an hour for the machine, {self.rate:,.4g} answers a second ({self.basis}) "
            f"during {self.utilisation:.0%} of all time; at half of that each answer costs twice as much"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the assumption in words among them."""
        return {**asdict(self), "assumes": self.assumes}


def price_answers(rate: float, price_per_hour: float, *, utilisation: float = 1.0, basis: str = "as measured") -> Price:
    """What `cost_per_million` finds, with what it assumes. `basis`: "peak under 10 ms", "predictor, one thread"."""
    cost = cost_per_million(rate, price_per_hour, utilisation=utilisation)
    return Price(cost, price_per_hour, rate, utilisation, basis)


def cost_per_million(rate: float, price_per_hour: float, *, utilisation: float = 1.0) -> float:
    """Cost of a million answers; `rate` is right answers a second, the price that of one hour of the machine.

    Raises `DataError` for a rate that is not above 0 (nothing was answered), `RecipeError` for a price
    below 0 or a `utilisation` outside (0, 1].
    """
    check_price(price_per_hour)
    if not 0 < utilisation <= 1:
        raise RecipeError(f"a utilisation of {utilisation} is no share; give one above 0, at most 1")
    if not (math.isfinite(rate) and rate > 0):
        raise DataError(f"{rate} answers a second have no price; measure a rate above 0")
    return price_per_hour / 3600 / (rate * utilisation) * 1e6


def check_price(price_per_hour: float) -> None:
    """Refuse what is no hourly price, before minutes are spent measuring; raises `RecipeError`."""
    if not (math.isfinite(price_per_hour) and price_per_hour >= 0):
        raise RecipeError(f"a price of {price_per_hour} an hour cannot be; give a number, 0 or more")
