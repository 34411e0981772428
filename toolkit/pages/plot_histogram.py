"""Latencies as a histogram over logarithmic bins: from samples, or from the file that kept only the histogram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.measure.samples import percentile_ms
from toolkit.pages.plot_data import require_positive
from toolkit.spec import Array

MARKS = ("p50_ms", "p99_ms", "max_ms")
FEWEST, MOST = 12, 60  # bins made of samples


@dataclass(frozen=True)
class Histogram:
    """Counts (n,) between `edges` (n + 1,) in ms, rising; the `marks` that are known, by their names in `MARKS`."""

    name: str
    edges: Array
    counts: Array
    marks: Mapping[str, float]

    @property
    def rows(self) -> int:
        """How many answers were counted."""
        return int(self.counts.sum())

    @property
    def filled(self) -> tuple[int, int]:
        """The first and the last bin with an answer."""
        full = np.flatnonzero(self.counts)
        return int(full[0]), int(full[-1])

    def density(self) -> Array:
        """Answers for each part of the logarithmic axis, float64 (n,), 1 at the highest."""
        density = self.counts / np.diff(np.log(self.edges))
        return np.asarray(density / density.max())


def histogram_of(name: str, latencies: Sequence[float] | Mapping[str, Any]) -> Histogram:
    """From samples in ms, or from a mapping with `edges_ms` and `counts`, there or under `histogram`.

    Raises `DataError` where there is nothing to draw or what there is has another form.
    """
    if isinstance(latencies, Mapping):
        return _read(name, latencies)
    samples = np.asarray(latencies, dtype=np.float64)
    if not samples.size:
        raise DataError(f"{name!r} has no latencies to draw; leave it out, or measure it")
    require_positive(samples.tolist(), f"a latency of {name!r}")
    low, high = float(samples.min()), float(samples.max())
    low, high = (low, high) if high > low * 1.02 else (low / 1.02, high * 1.02)
    bins = int(np.clip(2 * len(samples) ** (1 / 3), FEWEST, MOST))
    edges = np.geomspace(low, high, bins + 1)
    edges[0], edges[-1] = min(edges[0], samples.min()), max(edges[-1], samples.max())
    nanoseconds = np.rint(samples * 1e6).astype(np.int64).tolist()
    found = {mark: percentile_ms(nanoseconds, mark) for mark in MARKS if mark != "max_ms"}
    marks = {mark: value for mark, value in found.items() if value is not None}
    return Histogram(name, edges, np.histogram(samples, edges)[0], {**marks, "max_ms": float(samples.max())})


def _read(name: str, value: Mapping[str, Any]) -> Histogram:
    kept = value.get("histogram", value)
    try:
        edges = np.asarray(kept["edges_ms"], dtype=np.float64)
        counts = np.asarray(kept["counts"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'the latencies of {name!r} need "edges_ms" and "counts"; reading them gave {error!r}'
        ) from None
    if edges.ndim != 1 or counts.ndim != 1 or len(edges) != len(counts) + 1:
        raise DataError(f"the histogram of {name!r} has {edges.size} edges for {counts.size} counts; it needs one more")
    require_positive(edges.tolist(), f"an edge of the histogram of {name!r}")
    if not (np.diff(edges) > 0).all() or not np.isfinite(counts).all() or (counts < 0).any():
        raise DataError(f"the histogram of {name!r} needs edges that rise and counts of 0 or more")
    if not counts.sum():
        raise DataError(f"{name!r} has no latencies to draw; leave it out, or measure it")
    marks = {mark: float(value[mark]) for mark in MARKS if value.get(mark) is not None}
    require_positive(marks.values(), f"the latency of {name!r}")
    return Histogram(name, edges, counts, marks)


def span(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """The least and the greatest latency of all: empty bins at the ends of a file's histogram take no room."""
    lows, highs = [], []
    for one in histograms:
        first, last = one.filled
        lows += [one.edges[first], *one.marks.values()]
        highs += [one.edges[last + 1], *one.marks.values()]
    low, high = float(min(lows)), float(max(highs))
    return low, high if high > low else math.nextafter(low, math.inf)
