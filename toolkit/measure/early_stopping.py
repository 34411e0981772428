"""Does a latency bound hold, and how many queries does it take to say so: MLPerf LoadGen's early-stopping counts.

A share of the queries may be late: one in a hundred for a p99. Of a finite run, a few late ones fewer
than that prove nothing; how many fewer do is a matter of counting. Each query is taken as a draw that
is late with probability 1 - percentile. The bound *holds* when a run with so few late ones would come
up less than once in a hundred if the bound did not hold; it *fails* when so many would come up that
rarely if it did; between the two, the run was too short. At p99 and 99 % confidence 459 queries
without a late one show that it holds, 662 with one.

Limits: the queries are taken as independent. A stall makes neighbours late together, so a run has to
be long enough to meet the rare things too; the counts cannot know of what did not happen.
Source: MLPerf Inference rules, "Early stopping criterion" (the exact binomial test, tolerance 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.errors import RecipeError
from toolkit.spec import Array

PERCENTILE = 0.99
CONFIDENCE = 0.99


def holds(
    latencies_ms: Sequence[float] | Array,
    bound_ms: float,
    percentile: float = PERCENTILE,
    confidence: float = CONFIDENCE,
) -> bool | None:
    """True when the percentile is shown to be at most `bound_ms`, False when shown to be above, None with too few.

    `latencies_ms` (queries,) are of all that were asked: give one without a right answer as infinity,
    else a server that drops what it cannot do in time would pass. NaN counts as late. Raises
    `RecipeError` for a percentile or a confidence that is no share, or a bound that is not positive.
    """
    if not bound_ms > 0:
        raise RecipeError(f"the bound is {bound_ms} ms; it must be above 0")
    latencies = np.asarray(latencies_ms, dtype=np.float64)
    late = int(latencies.size - (latencies <= bound_ms).sum())
    return decide(latencies.size, late, percentile, confidence)


def decide(queries: int, late: int, percentile: float = PERCENTILE, confidence: float = CONFIDENCE) -> bool | None:
    """`holds` for counts: `late` out of `queries`."""
    _check(percentile, confidence)
    if not 0 <= late <= queries:
        raise RecipeError(f"{late} late of {queries} queries; give counts of 0 or more, no more late than asked")
    if _probability_up_to(late, queries, 1 - percentile) <= 1 - confidence:
        return True
    # at least `late` late is at most `queries - late` in time
    return False if _probability_up_to(queries - late, queries, percentile) <= 1 - confidence else None


def queries_needed(late: int = 0, percentile: float = PERCENTILE, confidence: float = CONFIDENCE) -> int:
    """The fewest queries, late ones included, that show that the bound holds when `late` of them were late."""
    _check(percentile, confidence)
    low, high = late, 2 * late + 1
    while decide(high, late, percentile, confidence) is not True:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decide(middle, late, percentile, confidence) else (middle, high)
    return high


def late_allowed(queries: int, percentile: float = PERCENTILE, confidence: float = CONFIDENCE) -> int | None:
    """The most late ones among `queries` with which the bound is still shown to hold; None where not even 0 are."""
    _check(percentile, confidence)
    # the median is at the share itself, so with a confidence of half or more fewer are allowed than that
    low, high = -1, queries if confidence < 0.5 else min(queries, math.ceil(queries * (1 - percentile)))
    while high - low > 1:
        middle = (low + high) // 2
        shown = _probability_up_to(middle, queries, 1 - percentile) <= 1 - confidence
        low, high = (middle, high) if shown else (low, middle)
    return low if low >= 0 else None


def least_bound_ms(
    latencies_ms: Sequence[float] | Array, percentile: float = PERCENTILE, confidence: float = CONFIDENCE
) -> float | None:
    """The lowest bound that these queries show to hold: a latency that occurred; None with too few queries.

    LoadGen's own estimate for a single stream is a rank or two above: it keeps a query for each doubt.
    """
    latencies = np.sort(np.asarray(latencies_ms, dtype=np.float64))
    allowed = late_allowed(latencies.size, percentile, confidence)
    return None if allowed is None else float(latencies[latencies.size - 1 - allowed])


def _probability_up_to(count: int, draws: int, share: float) -> float:
    """Binomial distribution function: at most `count` of `draws` come up, each with probability `share`."""
    if count >= draws:
        return 1.0
    # logarithms, from one term to the next: factorials of a million draws fit no float
    terms: Array = np.arange(1, count + 1, dtype=np.float64)
    steps = np.log((draws - terms + 1) / terms) + math.log(share / (1 - share))
    logs = draws * math.log1p(-share) + np.concatenate([[0.0], np.cumsum(steps)])
    highest = float(logs.max())
    return min(1.0, math.exp(highest) * float(np.exp(logs - highest).sum()))


def _check(percentile: float, confidence: float) -> None:
    if not 0 < percentile < 1 or not 0 < confidence < 1:
        raise RecipeError(
            f"percentile is {percentile} and confidence {confidence}; both are shares between 0 and 1, such as 0.99"
        )
