"""What BentoML's /metrics shows of our application, beside its own.

Written for prometheus_client's multiprocess mode: every worker writes to files of its own, and BentoML adds them up.
A gauge cannot call a function there, so the queue's depth is read when the metrics are asked for. Times and problems
are kept here and written down then too, half a second later, or when there are many: to write is dear between two
runs of a model, which leave little of it in the processor's caches, and a refusal must cost next to nothing.

| name | labels | what |
|---|---|---|
| toolkit_request_seconds | route, status | histogram, from 0.1 ms; requests that were let in |
| toolkit_problems_total | route, code | requests that got no answer: overloaded, deadline, client_left, ... |
| toolkit_queue_depth | | requests that wait, when asked |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any

# from 0.1 ms: a small model answers long before the 5 ms at which the usual buckets begin
BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

WRITE_SECONDS = 0.5
MOST_PROBLEMS, MOST_TIMES = 256, 64  # unwritten


class PrometheusObserver:
    """The listener of an `App`; `client` is BentoML's metrics client; told and asked in one event loop."""

    def __init__(self, client: Any) -> None:
        self._seconds = client.Histogram(
            name="toolkit_request_seconds", documentation="Time of a request in the application.",
            labelnames=["route", "status"], buckets=BUCKETS,
        )  # fmt: skip
        self._problems = client.Counter(
            name="toolkit_problems_total", documentation="Requests that got a problem in place of an answer.",
            labelnames=["route", "code"],
        )  # fmt: skip
        self._depth = client.Gauge(
            name="toolkit_queue_depth", documentation="Requests that wait.", multiprocess_mode="livesum"
        )
        self._read_depth: Callable[[], int] = lambda: 0
        self._children: MutableMapping[tuple[str, int], Any] = {}
        self._times: list[tuple[Any, float]] = []
        self._codes: Counter[tuple[str, str]] = Counter()
        self._due: asyncio.TimerHandle | None = None

    def __call__(self, route: str, status: int, code: str, seconds: float) -> None:
        """One request has been answered; `code` is its problem's, or "", `seconds` 0 where it was not let in."""
        if seconds:
            child = self._children.get((route, status))
            if child is None:
                child = self._children[route, status] = self._seconds.labels(route=route, status=str(status))
            self._times.append((child, seconds))
        if code:
            self._codes[route, code] += 1
        if len(self._times) >= MOST_TIMES or (code and self._codes[route, code] >= MOST_PROBLEMS):
            self._write()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._write)

    def _write(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        for child, seconds in self._times:
            child.observe(seconds)
        self._times.clear()
        for (route, code), count in self._codes.items():
            self._problems.labels(route=route, code=code).inc(count)
        self._codes.clear()

    def queue_depth(self, read: Callable[[], int]) -> None:
        """Ask `read` for the depth whenever the metrics are asked for."""
        self._read_depth = read

    def refresh(self) -> None:
        """Bring everything up to date; called before it is shown."""
        self._depth.set(self._read_depth())
        self._write()
