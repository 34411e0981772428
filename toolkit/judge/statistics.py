"""Intervals and tests for two models that answered the same rows.

Accuracies of two models on one test set are paired: what says whether they differ is the rows on
which exactly one of them is right, not the two percentages. Everything here is a closed form or an
exact root; nothing is simulated.

Limits: intervals are for rows drawn independently from what will be asked in production. Rows that
repeat, or a test set that choices were made on, make every one of them too narrow.

Sources: Wilson 1927 (JASA 22:209); Tango 1998 (Statistics in Medicine 17:891); McNemar 1947
(Psychometrika 12:153), the exact form; Holm 1979 (Scandinavian Journal of Statistics 6:65); Guo et al.
2017, calibration error (arXiv:1706.04599).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from toolkit.spec import Array

LEVEL = 0.95
CALIBRATION_BINS = 15
MAX_ROWS = 1_000_000_000


@dataclass(frozen=True)
class Estimate:
    """A measured value and the ends of its 95 % interval, all in the unit of the value."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson_interval(successes: float, rows: float, *, level: float = LEVEL) -> Estimate:
    """`successes / rows` with Wilson's score interval. Raises `ValueError` unless 0 <= successes <= rows > 0."""
    if not 0 <= successes <= rows or rows <= 0:
        raise ValueError(f"{successes} of {rows} is not a proportion")
    z = _quantile(level)
    share = successes / rows
    center = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    # at 0 and 1 the ends meet the estimate exactly; rounding must not push them past it
    return Estimate(share, min(share, max(0.0, center - half)), max(share, min(1.0, center + half)))


def paired_interval(gained: float, lost: float, rows: float, *, level: float = LEVEL) -> Estimate:
    """Difference of two paired proportions, `(gained - lost) / rows`, with Tango's score interval.

    `gained` rows are right only for the candidate, `lost` only for the reference. The interval is all
    differences that the score test does not reject, its variance taken at the constrained maximum of
    the likelihood; it has width at no discordant row too. Counts may be fractions (a projection).
    Raises `ValueError` for counts that no table of `rows` rows can have.
    """
    if gained < 0 or lost < 0 or rows <= 0 or gained + lost > rows * (1 + 1e-12):
        raise ValueError(f"{gained} gained and {lost} lost do not fit {rows} rows")
    z = _quantile(level)
    # the lower end is the upper end of the mirrored table: one root finder serves both
    low, high = -_upper_end(lost, gained, rows, z), _upper_end(gained, lost, rows, z)
    return Estimate((gained - lost) / rows, low, high)


def _upper_end(gained: float, lost: float, rows: float, z: float) -> float:
    """The largest difference whose score is not below -z, by bisection to the last bit.

    The score falls from 0 at the estimate, so the root is the only one on [estimate, 1].
    """
    inside, outside = (gained - lost) / rows, 1.0
    if _score(gained, lost, rows, outside) >= -z:
        return outside
    while True:
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            return inside
        if _score(gained, lost, rows, middle) >= -z:
            inside = middle
        else:
            outside = middle


def _score(gained: float, lost: float, rows: float, difference: float) -> float:
    """Tango's score statistic of a hypothetical `difference`; falls as the difference grows."""
    share_lost = constrained_lost(gained, lost, rows, difference)
    variance = rows * (2 * share_lost + difference * (1 - difference))
    distance = gained - lost - rows * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def constrained_lost(gained: float, lost: float, rows: float, difference: float) -> float:
    """Most likely share of lost rows when gained - lost must be `difference`; Tango 1998, section 3.

    The larger root of 2N x^2 + Bx + C = 0, written so that no cancellation occurs for either sign of B.
    """
    b = (2 * rows - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    root = math.sqrt(max(b * b - 8 * rows * c, 0.0))
    share = -2 * c / (b + root) if b > 0 else (root - b) / (4 * rows)
    return max(share, -difference, 0.0)


def mcnemar_p(gained: int, lost: int) -> float:
    """Exact two-sided p of equal accuracy: a fair coin tossed once for each discordant row."""
    tosses, fewer = gained + lost, min(gained, lost)
    if not tosses:
        return 1.0
    scale = math.lgamma(tosses + 1) - tosses * math.log(2)
    tail = (math.exp(scale - math.lgamma(k + 1) - math.lgamma(tosses - k + 1)) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(tail))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Each p adjusted for all of them by Holm's step-down, in the order given; holds under any dependence.

    Calling significant what is at most 0.05 here is wrong about any of them at most one time in twenty.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def rows_to_decide(gained: float, lost: float, rows: int, margin: float) -> int | None:
    """Rows at which the interval would no longer hold `-margin`, if both kinds of discordance kept their rates.

    None when no number would (the difference is exactly the margin) or it is above 10^9. An estimate
    to plan by: with few discordant rows their rates are themselves uncertain.
    """
    above = (gained - lost) / rows >= -margin

    def decided(count: int) -> bool:
        scale = count / rows
        interval = paired_interval(gained * scale, lost * scale, count)
        return interval.low >= -margin if above else interval.high < -margin

    if decided(rows):
        return rows
    if not decided(MAX_ROWS):
        return None
    undecided, enough = rows, MAX_ROWS
    while enough - undecided > 1:
        middle = (undecided + enough) // 2
        undecided, enough = (undecided, middle) if decided(middle) else (middle, enough)
    return enough


def calibration_error(probabilities: Array, labels: Array) -> float:
    """Expected calibration error: mean |confidence - accuracy| over 15 bins of equal width, by rows.

    `probabilities` float (rows, classes), `labels` int (rows,). Empty bins count nothing.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    gap = np.bincount(confidence_bins(confidence), weights=confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(labels))


def confidence_bins(confidence: Array) -> Array:
    """The bin of each confidence, int (rows,) from 0 to 14; one on an edge belongs to the bin below.

    As in the paper's (m - 1)/M < p <= m/M.
    """
    bins: Array = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return bins


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
