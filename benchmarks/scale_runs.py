"""A model run in process at growing sizes: all models, threads and sizes in each round, so that all see one machine.

Every answer of every row is compared, outside the clock, with that of the same row run alone on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scale_fit import fit_slopes
from benchmarks.scale_limits import limit_of
from benchmarks.scale_models import Model
from toolkit.measure.conditions import collector_off
from toolkit.measure.samples import PERCENTILES, percentile_ms
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Arrays, softmax

LEAST_RUNS = 3  # of a size in a round
SCORE_TOLERANCE = 1e-3  # of a probability: another shape adds up in another order
AGAIN = "again"


@dataclass(frozen=True)
class Subject:
    """A model on so many threads, what it is fed at each size, and the logits of each row alone."""

    model: Model
    threads: int
    runner: OnnxRunner
    feeds: Mapping[int, Arrays]
    expected: Mapping[int, Array]

    @property
    def key(self) -> str:
        """As it stands in the ledger."""
        return f"{self.model.artifact.digest}/{self.threads}"


def open_subjects(model: Model, threads: Sequence[int], feeds: Mapping[int, Arrays]) -> list[Subject]:
    """`model` on each number of threads; `feeds` are encoded rows by size."""
    with OnnxRunner(model.content, threads=1, precision=model.precision) as alone:
        expected = {size: _alone(alone, arrays) for size, arrays in feeds.items()}
    return [
        Subject(model, count, OnnxRunner(model.content, threads=count, precision=model.precision), feeds, expected)
        for count in threads
    ]


def time_round(subjects: Sequence[Subject], *, seconds: float, number: int) -> dict[str, dict[str, Any]]:
    """Every subject at every size for `seconds`, the first once more at the end as `AGAIN`.

    By key and size: {"us": samples, "asked": rows, "right": rows}. The order turns round with `number`.
    """
    order = subjects[1:] if number % 2 == 0 else subjects[:0:-1]
    found: dict[str, dict[str, Any]] = {}
    with collector_off():
        for name, one in [(subjects[0].key, subjects[0]), *((one.key, one) for one in order), (AGAIN, subjects[0])]:
            found[name] = {str(size): _time_size(one, size, seconds) for size in one.feeds}
    return found


def gather(subjects: Sequence[Subject], rounds: Sequence[Mapping[str, Any]], limits: Mapping[str, Any],
           *, batch_grows: bool, length: int = 0) -> dict[str, Any]:  # fmt: skip
    """{"series": [...], "noise": factor}: the points of each subject with their limits, and the slopes.

    The size is the batch of rows of `length` tokens where `batch_grows`, else the length of one row.
    """
    series = []
    for one in subjects:
        points = []
        for size in one.feeds:
            work = one.model.operations(length).times(size) if batch_grows else one.model.operations(size)
            limit = limit_of(limits, one.threads, weight_bytes=one.model.weight_bytes, work=work)
            points.append({"size": size, **_point([found[one.key][str(size)] for found in rounds]), **limit})
        fit = fit_slopes([point["size"] for point in points], [point["rounds_ms"] for point in points])
        model = one.model
        series.append({"model": model.name, "trained": model.trained, "digest": model.artifact.digest,
                       "precision": model.precision, "threads": one.threads, "points": points, **fit})  # fmt: skip
    return {"series": series, "noise": _noise(subjects[0], rounds)}


def answers_right(expected: Array, found: Array) -> int:
    """Rows whose label is the expected one, and whose score is within rounding of it; logits (rows, classes)."""
    before, after = softmax(expected), softmax(found)
    labels = before.argmax(axis=1)
    rows = np.arange(len(labels))
    near = np.abs(before[rows, labels] - after[rows, labels]) <= SCORE_TOLERANCE
    return int((near & (after.argmax(axis=1) == labels)).sum())


def _alone(runner: OnnxRunner, arrays: Arrays) -> Array:
    rows = len(next(iter(arrays.values())))
    return np.concatenate([runner.run({k: v[row : row + 1] for k, v in arrays.items()}) for row in range(rows)])


def _time_size(one: Subject, size: int, seconds: float) -> dict[str, Any]:
    feed, clock, right = one.feeds[size], time.perf_counter_ns, 0
    samples: list[int] = []
    one.runner.run(feed)  # the caches were another's
    end = clock() + int(seconds * 1e9)
    while len(samples) < LEAST_RUNS or clock() < end:
        start = clock()
        found = one.runner.run(feed)
        samples.append(clock() - start)
        right += answers_right(one.expected[size], found)
    asked = len(samples) * len(one.expected[size])
    return {"us": [round(ns / 1e3, 1) for ns in samples], "asked": asked, "right": right}


def _point(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    asked, right = (sum(part[name] for part in parts) for name in ("asked", "right"))
    nanoseconds = [int(us * 1e3) for part in parts for us in part["us"]]
    medians = [statistics.median(part["us"]) / 1e3 for part in parts]
    return {
        "ms": statistics.median(medians), "rounds_ms": medians, "samples": len(nanoseconds),
        **{name: percentile_ms(nanoseconds, name) for name in PERCENTILES},
        "asked": asked, "right": right, "success_rate": right / asked,
    }  # fmt: skip


def _noise(first: Subject, rounds: Sequence[Mapping[str, Any]]) -> float:
    """The largest factor, over the sizes, by which the first subject's median of rounds differed from itself."""
    factors: list[float] = []
    for size in first.feeds:
        times = [
            statistics.median(statistics.median(found[key][str(size)]["us"]) for found in rounds)
            for key in (first.key, AGAIN)
        ]
        factors.append(max(times) / min(times))
    return max(factors)
