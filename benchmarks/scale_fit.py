"""How steeply a cost rises: the slope of log cost over log size, with an interval from the rounds.

A slope of 1 doubles with the work, 0 does not feel it, 2 is a square. A cost is rarely a pure power, so the slope at
the large end stands beside the whole one, with the largest factor by which a point lies off the line.

Each round gives a slope of its own, since all sizes were measured in it; the interval is Student's over the rounds,
95 %. It says how well the slope was measured, not how well a line fits: that is what the factor is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.spec import Array

LEVEL = 0.95


def fit_slopes(sizes: Sequence[float], rounds_ms: Sequence[Sequence[float]]) -> dict[str, Any]:
    """{"slope": {"value", "low", "high"}, "off", "large_end": {"from", "value", "low", "high"}}.

    `rounds_ms[size][round]`, all above 0 and of one length. "low" and "high" are absent with a single round, and
    "large_end", the slope over the larger half of the sizes, with fewer than four sizes. Raises `ValueError` with
    fewer than two different sizes or no round.
    """
    costs = np.log(np.asarray(rounds_ms, dtype=np.float64))
    if len(set(sizes)) < 2 or costs.ndim != 2 or not costs.shape[1] or len(costs) != len(sizes):
        raise ValueError(f"{len(sizes)} sizes with costs of shape {costs.shape} have no slope")
    logs = np.log(np.asarray(sizes, dtype=np.float64))
    slopes = _slopes(logs, costs)
    middle = costs.mean(axis=1)
    line = middle.mean() + slopes.mean() * (logs - logs.mean())
    found: dict[str, Any] = {"slope": _interval(slopes), "off": float(np.exp(np.abs(middle - line).max()))}
    half = len(logs) // 2
    if half >= 2:
        found["large_end"] = {"from": sizes[-half - 1], **_interval(_slopes(logs[-half - 1 :], costs[-half - 1 :]))}
    return found


def _slopes(logs: Array, costs: Array) -> Array:
    """Least squares, one slope for each column."""
    centred = logs - logs.mean()
    return np.asarray(centred @ costs / (centred @ centred))


def _interval(slopes: Array) -> dict[str, float]:
    from scipy.stats import t

    value = float(slopes.mean())
    if len(slopes) < 2:
        return {"value": value}
    half = float(t.ppf(0.5 + LEVEL / 2, len(slopes) - 1)) * float(slopes.std(ddof=1)) / math.sqrt(len(slopes))
    return {"value": value, "low": value - half, "high": value + half}
