"""Percentiles that may be believed, and whether a run was steady.

A percentile is given only with ten samples beyond it: p50 from 20, p90 from 100, p99 from 1,000 and
p99.9 from 10,000. It is a sample that really occurred (nearest rank), never an interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SAMPLES_BEYOND = 10
# name in JSON -> samples out of 1,000 that lie beyond it
PERCENTILES = {"p50_ms": 500, "p90_ms": 100, "p99_ms": 10, "p99_9_ms": 1}


def percentile_ms(samples_ns: Sequence[int], name: str) -> float | None:
    """A percentile in milliseconds by its name in `PERCENTILES`; None with too few samples for it."""
    beyond = PERCENTILES[name]
    if len(samples_ns) * beyond < SAMPLES_BEYOND * 1000:
        return None
    # in whole numbers: 1 - 0.001 is not exact, and the rank would slip by one
    rank = -(-len(samples_ns) * (1000 - beyond) // 1000)
    return float(np.partition(np.asarray(samples_ns, dtype=np.int64), rank - 1)[rank - 1]) / 1e6


def summarize(samples_ns: Sequence[int]) -> dict[str, Any]:
    """Count, percentiles, mean and extremes in milliseconds, and rows a second at batch 1."""
    samples = np.asarray(samples_ns, dtype=np.int64)
    return {
        "samples": len(samples),
        **{name: percentile_ms(samples_ns, name) for name in PERCENTILES},
        "mean_ms": float(samples.mean()) / 1e6,
        "min_ms": float(samples.min()) / 1e6,
        "max_ms": float(samples.max()) / 1e6,
        "rows_per_second": float(1e9 / samples.mean()),
    }


def drift(samples_ns: Sequence[int]) -> float | None:
    """Median of the last third over that of the first, in the order measured; None with under 60 samples."""
    third = len(samples_ns) // 3
    first = percentile_ms(samples_ns[:third], "p50_ms")
    last = percentile_ms(samples_ns[len(samples_ns) - third :], "p50_ms")
    return None if first is None or last is None else last / first
