"""What a load run saw, request by request, and what may be said of it.

Latency counts from the time a request was *scheduled*, not from when it could be sent: a generator
that waits for a slow server before it sends the next request would leave out just those that would
have been slow (coordinated omission), and a stall of a second would hide behind a p99 of 3 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from toolkit.measure.samples import PERCENTILES, percentile_ms
from toolkit.spec import Array

REFUSALS = (429, 503)
SLIP_LIMIT_MS = 5.0


@dataclass(frozen=True)
class Samples:
    """Columns of one run in the order finished, each (requests,); times are float64 seconds since `start`.

    `noticed` is when the generator saw that a request was due, `started` when a connection took it;
    `status` is 0 without an answer, whose reason is counted in `errors`. `right` is a 2xx answer that
    passed its request's check. `request` says which one it was, `retry_after` whether the answer had
    that header. `start` is perf_counter at zero, `seconds` how long requests were offered.
    """

    scheduled: Array
    noticed: Array
    started: Array
    finished: Array
    status: Array
    right: Array
    retry_after: Array
    request: Array
    errors: Mapping[str, int]
    start: float
    seconds: float

    def __len__(self) -> int:
        return len(self.status)

    @cached_property
    def latency_ms(self) -> Array:
        """From scheduled to finished, float64 (requests,)."""
        return np.asarray((self.finished - self.scheduled) * 1e3)

    @property
    def wrong(self) -> Array:
        """Answered 2xx, and not with what was expected."""
        return np.asarray((self.status // 100 == 2) & ~self.right)

    @property
    def refused(self) -> Array:
        """Answered 429 or 503."""
        return np.isin(self.status, REFUSALS)

    @property
    def success_rate(self) -> float:
        """Right answers out of all that were asked; 0 when nothing was."""
        return float(self.right.mean()) if len(self) else 0.0

    @property
    def slip_ms(self) -> Array:
        """How late the generator itself was, float64 (requests,)."""
        return (self.noticed - self.scheduled) * 1e3

    @property
    def valid(self) -> bool:
        """False when one request in a hundred or more was noticed over 5 ms late: then the generator was measured."""
        return bool((self.slip_ms > SLIP_LIMIT_MS).mean() < 0.01) if len(self) else True

    def between(self, first: float, last: float) -> Samples:
        """Those scheduled from `first` until before `last`, seconds since the start; rates are of that stretch."""
        kept = (self.scheduled >= first) & (self.scheduled < last)
        columns = {name: getattr(self, name)[kept] for name in _COLUMNS}
        moved = {name: columns[name] - first for name in _TIMES}
        # which failure had which reason is not kept, so a part of a run cannot say
        return Samples(**{**columns, **moved}, errors={}, start=self.start + first, seconds=last - first)

    def rate(self, objective_ms: float | None = None) -> float:
        """Right answers a second, given while requests were offered; with an objective, those within it: goodput."""
        good = self.right & (self.finished <= self.seconds)
        if objective_ms is not None:
            good = good & (self.latency_ms <= objective_ms)
        return float(good.sum()) / self.seconds

    def percentile_ms(self, name: str, *, of: Array | None = None) -> float | None:
        """By its name in `PERCENTILES`, over right answers or over the mask `of`; None with too few of them."""
        return percentile_ms((self.latency_ms[self.right if of is None else of] * 1e6).astype(np.int64).tolist(), name)

    def summary(self, objective_ms: float | None = None) -> dict[str, Any]:
        """Counts, rates, percentiles of right answers, thirds, refusals and slip, as plain JSON values."""
        right, refused, latency = self.right, self.refused, self.latency_ms
        third = self.seconds / 3
        first, last = self.between(0, third), self.between(2 * third, self.seconds)
        found: dict[str, Any] = {
            "seconds": self.seconds,
            "asked": len(self),
            "right": int(right.sum()),
            "wrong": int(self.wrong.sum()),
            "by_status": {str(status): count for status, count in sorted(Counter(self.status.tolist()).items())},
            "errors": dict(self.errors),
            "success_rate": self.success_rate,
            "rate": self.rate(),
            **{name: self.percentile_ms(name) for name in PERCENTILES},
            "mean_ms": float(latency[right].mean()) if right.any() else None,
            "max_ms": float(latency[right].max()) if right.any() else None,
            "first_third": _thirds(first),
            "last_third": _thirds(last),
            "slip_ms": _extremes(self.slip_ms),
            "valid": self.valid,
        }
        if objective_ms is not None:
            found |= {"objective_ms": objective_ms, "goodput": self.rate(objective_ms)}
        if refused.any():
            found["refused"] = {
                "count": int(refused.sum()),
                "retry_after": int((refused & self.retry_after).sum()),
                **{name: self.percentile_ms(name, of=refused) for name in PERCENTILES},
                "max_ms": float(latency[refused].max()),
            }
        return found


_TIMES = ("scheduled", "noticed", "started", "finished")
_COLUMNS = (*_TIMES, "status", "right", "retry_after", "request")


def _thirds(part: Samples) -> dict[str, Any]:
    return {"asked": len(part), **{name: part.percentile_ms(name) for name in ("p50_ms", "p90_ms", "p99_ms")}}


def _extremes(values: Array) -> dict[str, float]:
    if not len(values):
        return {}
    return {"p50": float(np.median(values)), "p99": float(np.quantile(values, 0.99)), "max": float(values.max())}
