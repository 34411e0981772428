"""How sure a ratio of two times is: the median over the rounds of a run, and an interval by resampling them.

Rounds are what is resampled, not single requests: those of one round share whatever the machine did
meanwhile, and an interval that took them for independent would be far too narrow. Rounds of one run
are pairs, A and B measured seconds apart, so each pair gives a ratio (`paired_ratio`). Rounds of two
runs are no pairs: each run is resampled by itself (`unpaired_ratio`).

Medians are taken of logarithms, so that a ratio turned over is the other ratio. Above 1, the times
given first are the longer ones.

Limits: with few rounds the interval can only end at a round that was measured. At 95 %, five rounds give
the extremes, which hold the true median 94 times in 100; seven hold it 88 times, and odd numbers from
nine to thirty-one 91 to 96 times (counted in tests/measure/test_measure_bootstrap.py).
What all rounds of a run share, such as a neighbour who was there throughout, no resampling can see.

Source: the percentile interval of Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import DataError
from toolkit.spec import Array

LEVEL = 0.95
RESAMPLES = 10_000
MIN_ROUNDS = 5  # with fewer, even from the least to the most is no 90 % interval of the median


@dataclass(frozen=True)
class Interval:
    """A ratio of two times, and the ends of its interval."""

    ratio: float
    low: float
    high: float

    def beyond(self, floor: float) -> bool:
        """True when the whole interval lies outside 1/floor to floor: a difference, whichever way. `floor` >= 1."""
        return self.low > floor or 1 / self.high > floor

    def to_json(self) -> dict[str, float]:
        """Plain JSON values."""
        return {"ratio": self.ratio, "low": self.low, "high": self.high}


def paired_ratio(times: Sequence[float], against: Sequence[float], *, seed: int = 0, level: float = LEVEL) -> Interval:
    """The median of `times[i] / against[i]`, round by round of one run, with its percentile interval.

    Any unit, both the same. Raises `DataError` without rounds, with unequal numbers of them, or for a
    time that is not above 0 and finite.
    """
    first, second = _logarithms(times), _logarithms(against)
    if len(first) != len(second):
        raise DataError(f"{len(first)} rounds against {len(second)} are no pairs; give the rounds of one run")
    ratios = np.sort(first - second)  # the order measured then changes nothing
    return _interval(float(np.median(ratios)), _medians(ratios, np.random.default_rng(seed)), level)


def unpaired_ratio(
    times: Sequence[float], against: Sequence[float], *, seed: int = 0, level: float = LEVEL
) -> Interval:
    """The median of `times` over that of `against`, two runs with rounds of their own; raises as `paired_ratio`.

    Each run is resampled by itself; they may have different numbers of rounds.
    """
    first, second = np.sort(_logarithms(times)), np.sort(_logarithms(against))
    generator = np.random.default_rng(seed)
    found = _medians(first, generator) - _medians(second, generator)
    return _interval(float(np.median(first) - np.median(second)), found, level)


def noise_floor(times: Sequence[float], again: Sequence[float], *, seed: int = 0, level: float = LEVEL) -> float:
    """How large a ratio this machine makes out of nothing: one subject measured twice in the same rounds.

    The end of the interval that lies further from 1, as a ratio of at least 1. Raises as `paired_ratio`.
    """
    found = paired_ratio(times, again, seed=seed, level=level)
    return max(found.high, 1 / found.low, 1.0)


def _logarithms(times: Sequence[float]) -> Array:
    values = np.asarray(times, dtype=np.float64)
    if not values.size:
        raise DataError("there is no round to compare; measure at least one")
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataError(f"a round of {values.min()} is no time; every round must be above 0 and finite")
    return np.log(values)


def _medians(values: Array, generator: np.random.Generator) -> Array:
    """The medians of `RESAMPLES` samples with replacement, float64 (RESAMPLES,)."""
    drawn = generator.integers(len(values), size=(RESAMPLES, len(values)))
    return np.asarray(np.median(values[drawn], axis=1))


def _interval(middle: float, medians: Array, level: float) -> Interval:
    tail = (1 - level) / 2
    # no interpolation: ends that really occurred, the wider one where two are as good
    low = np.quantile(medians, tail, method="lower")
    high = np.quantile(medians, 1 - tail, method="higher")
    return Interval(math.exp(middle), math.exp(min(low, middle)), math.exp(max(high, middle)))
