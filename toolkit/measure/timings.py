"""What measuring returns: the samples of one predictor, or several predictors in the same rounds.

No difference is claimed below the noise: the first predictor is measured twice in every round, and
what it differs from itself is how large a difference this machine makes out of nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.measure.conditions import Conditions
from toolkit.measure.samples import drift, percentile_ms, summarize


@dataclass(frozen=True)
class Latency:
    """Samples of one predictor in nanoseconds, in the order measured, and what they were measured on.

    `facts` is the runner's own word on runtime, provider, threads and precision. `wrong` counts
    answers that were not the first answer to the same example.
    """

    samples_ns: tuple[int, ...] = field(repr=False)
    examples: int
    wrong: int
    facts: Mapping[str, Any]
    conditions: Conditions

    @property
    def p50_ms(self) -> float | None:
        """Median in milliseconds; None with fewer than 20 samples."""
        return percentile_ms(self.samples_ns, "p50_ms")

    @property
    def p99_ms(self) -> float | None:
        """99th percentile in milliseconds; None with fewer than 1,000 samples."""
        return percentile_ms(self.samples_ns, "p99_ms")

    @property
    def mean_ms(self) -> float:
        """Mean in milliseconds: what a row costs a machine that answers many."""
        return statistics.fmean(self.samples_ns) / 1e6

    def to_json(self, *, samples: bool = False) -> dict[str, Any]:
        """Plain JSON values; `samples` adds every sample, in microseconds."""
        value = {
            **summarize(self.samples_ns),
            "scenario": "single row, in process, encoder included",
            "runtime": dict(self.facts),
            "examples": self.examples,
            "success_rate": 1 - self.wrong / len(self.samples_ns),
            "last_third_over_first": drift(self.samples_ns),
            "conditions": self.conditions.to_json(),
        }
        return value | ({"samples_us": [round(ns / 1000, 1) for ns in self.samples_ns]} if samples else {})


@dataclass(frozen=True)
class Ratio:
    """Median over the rounds of one median over another, with the extremes of the rounds."""

    median: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Plain JSON values."""
        return {"median": self.median, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Comparison:
    """Predictors measured in the same rounds.

    `medians_ms[round][predictor]`; its last column is the first predictor again, measured last.
    """

    latencies: tuple[Latency, ...]
    medians_ms: tuple[tuple[float, ...], ...]

    def ratio(self, first: int, second: int) -> Ratio:
        """How many times the median of `first` is that of `second`, round by round; above 1, `second` is faster."""
        ratios = [row[first] / row[second] for row in self.medians_ms]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    @property
    def noise(self) -> Ratio:
        """The first predictor against itself: no ratio inside this range is a difference."""
        return self.ratio(0, -1)

    def is_difference(self, first: int, second: int) -> bool:
        """True when every round of the ratio lies beyond everything that the noise reached, both ways."""
        ratio, noise = self.ratio(first, second), self.noise
        floor = max(noise.high, 1 / noise.low)
        return ratio.low > floor or ratio.high < 1 / floor

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: each predictor against the first, and the noise."""
        others = range(1, len(self.latencies))
        return {
            "rounds": len(self.medians_ms),
            "medians_ms": [list(row) for row in self.medians_ms],
            "first_over_each": [
                {**self.ratio(0, other).to_json(), "beyond_noise": self.is_difference(0, other)} for other in others
            ],
            "noise": self.noise.to_json(),
        }
