"""Load in the background while something is broken, what became of it, and questions asked all at once."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.faults.row import Counts
from toolkit.measure.client import Connection, Reply, Server
from toolkit.measure.load import Request, run_closed, run_open
from toolkit.measure.load_samples import Samples
from toolkit.serving.serve import LOOPBACK
from toolkit.spec import Array

CONNECTIONS = 256


class Traffic:
    """One load run in a thread; `now` is seconds since it began, `samples` what it saw once it is over."""

    def __init__(self, **options: Any) -> None:
        run = run_closed if "rate" not in options else run_open
        self._found: Samples | None = None
        self._error: BaseException | None = None
        self._began = time.perf_counter()

        def work() -> None:
            try:
                self._found = run(**options)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    @property
    def samples(self) -> Samples:
        """Wait for the end of it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found

    def sleep_until(self, seconds: float) -> None:
        """Until so many seconds after its start."""
        time.sleep(max(0.0, self._began + seconds - time.perf_counter()))


@contextlib.contextmanager
def traffic(url: str, requests: Sequence[Request], **options: Any) -> Iterator[Traffic]:
    """Open arrivals with `rate`, a closed loop with `connections` alone; is over when the block is."""
    running = Traffic(url=url, requests=requests, **options)
    try:
        yield running
    finally:
        with contextlib.suppress(Exception):
            _ = running.samples


def tally(samples: Samples) -> Counts:
    """What became of each request; they add up to `asked`."""
    status = samples.status
    refused, late, none = samples.refused, status == 504, status == 0
    other = ~(refused | late | none | (status // 100 == 2))
    return {
        "asked": len(samples),
        "right": int(samples.right.sum()),
        "wrong": int(samples.wrong.sum()),
        "refused": int(refused.sum()),
        "late": int(late.sum()),
        "unanswered": int(none.sum()),
        "other": int(other.sum()),
        "p99_ms": p99_ms(samples.latency_ms[samples.right]),
        **({"why_unanswered": dict(samples.errors)} if samples.errors else {}),
    }


def p99_ms(latency: Array) -> float | None:
    """None of nothing."""
    return round(float(np.percentile(latency, 99)), 2) if len(latency) else None


def recovery_seconds(samples: Samples, fault: float, *, share: float = 0.99, limit_ms: float) -> float | None:
    """From `fault` (seconds since the start) to the first half second that is normal and is followed by normal ones.

    Normal: `share` of what was scheduled in it is answered right within `limit_ms`. None when it never is again.
    """
    edges = np.arange(fault, samples.seconds - 0.5, 0.5)
    normal = []
    for edge in edges:
        part = samples.between(edge, edge + 0.5)
        good = part.right & (part.latency_ms <= limit_ms)
        normal.append(bool(len(part) == 0 or good.mean() >= share))
    last_bad = max((i for i, fine in enumerate(normal) if not fine), default=-1)
    if last_bad == len(normal) - 1:
        return None
    return float((last_bad + 1) * 0.5)


async def ask_at_once(
    url: str, requests: Sequence[Request], *, timeout: float, headers: Sequence[tuple[str, str]] = ()
) -> list[Reply]:
    """Every request on a connection of its own, sent in the same moment."""
    server = Server.of(url)
    connections = [Connection(server) for _ in requests]
    try:
        for connection in connections:
            await connection.connect()
        deadline = time.perf_counter() + timeout
        contents = [server.request(r.method, r.path, r.content_type, r.body, headers) for r in requests]
        pairs = zip(connections, contents, strict=True)
        return list(await asyncio.gather(*(connection.ask(content, deadline) for connection, content in pairs)))
    finally:
        for connection in connections:
            connection.close()


def is_right(request: Request, reply: Reply) -> bool:
    """A 200 that passed its check."""
    return reply.status == 200 and (request.check is None or request.check(reply.body))


def ask_once(port: int, request: Request, *, timeout: float = 5.0, headers: dict[str, str] | None = None) -> int:
    """The status of one request on a connection of its own; 0 without an answer, -200 for a wrong one."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        kind = {"content-type": request.content_type} if request.body else {}
        connection.request(request.method, request.path, request.body or None, {**kind, **(headers or {})})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    if answer.status == 200 and request.check is not None and not request.check(body):
        return -200
    return answer.status


READY = Request("/readyz", method="GET")


def right_of(port: int, request: Request, times: int) -> int:
    """How many of so many, asked one after the other, are answered right."""
    return sum(ask_once(port, request) == 200 for _ in range(times))


def seconds_until_right(port: int, request: Request, *, seconds: float) -> float | None:
    """Until the first right answer on a fresh connection; None when there is none."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        if ask_once(port, request, timeout=1.0) == 200:
            return round(time.perf_counter() - started, 2)
        time.sleep(0.02)
    return None
