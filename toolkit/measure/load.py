"""Ask a server for answers, closed loop or open arrivals, and keep when each was due, sent and answered.

- `run_closed`: so many clients, each asks again when it has its answer. For the time of a lone
  request, and for the rate at a given concurrency. It hides stalls: while nothing is answered,
  nothing is asked.
- `run_open`: seeded Poisson arrivals that do not wait for anybody. For p99 under load and for
  overload. Latency counts from the scheduled time; one that waits for a free connection waits.

Answers are checked in the run: a wrong answer is not a fast answer. `closed_load` and `open_load`
are the same as coroutines, for a harness that breaks something meanwhile.

Cost: one core. The end of each wait for an arrival is spun through, since timers of an event loop
are a millisecond coarse; the garbage collector is off. About 10,000 requests a second can be
offered from a 2.5 GHz core; `Samples.slip_ms` says whether it kept its schedule.
Source: MLPerf inference rules, scenario Server; G. Tene, "How not to measure latency".
"""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

import numpy as np

from toolkit.errors import RecipeError
from toolkit.measure.client import Connection, Reply, Server, clock
from toolkit.measure.conditions import collector_off
from toolkit.measure.load_samples import REFUSALS, Samples
from toolkit.spec import Array

TIMEOUT_SECONDS = 10.0
CONNECTIONS = 256
COARSE_SECONDS = 0.002  # what a timer of the loop may be late by
PAUSE_SECONDS = 0.01  # of a closed client that got no answer or was refused, so that it does not spin
MAX_REMEMBERED = 1 << 16

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """What to ask; `check` says of a body whether it is the right answer, and is asked once for each different body."""

    path: str
    body: bytes = b""
    content_type: str = "application/json"
    check: Callable[[bytes], bool] | None = None
    method: str = "POST"


def run_closed(
    url: str,
    requests: Sequence[Request],
    *,
    connections: int,
    seconds: float,
    timeout: float = TIMEOUT_SECONDS,
    seed: int = 0,
    headers: Headers = (),
    tls: SSLContext | None = None,
) -> Samples:
    """`closed_load` in an event loop of its own."""
    return _run(
        closed_load(
            url,
            requests,
            connections=connections,
            seconds=seconds,
            timeout=timeout,
            seed=seed,
            headers=headers,
            tls=tls,
        )
    )


def run_open(
    url: str,
    requests: Sequence[Request],
    *,
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    timeout: float = TIMEOUT_SECONDS,
    seed: int = 0,
    headers: Headers = (),
    tls: SSLContext | None = None,
) -> Samples:
    """`open_load` in an event loop of its own."""
    return _run(
        open_load(
            url, requests, rate=rate, seconds=seconds, connections=connections, timeout=timeout, seed=seed,
            headers=headers, tls=tls,
        )
    )  # fmt: skip


async def closed_load(
    url: str,
    requests: Sequence[Request],
    *,
    connections: int,
    seconds: float,
    timeout: float = TIMEOUT_SECONDS,
    seed: int = 0,
    headers: Headers = (),
    tls: SSLContext | None = None,
) -> Samples:
    """`connections` clients ask one request after the other, in a seeded order, for `seconds`.

    A request takes at most `timeout` seconds. Raises `RecipeError` without requests, clients or time.
    """
    book = _Book(Server.of(url, tls), requests, headers, seconds, timeout, connections)
    order = np.random.default_rng(seed).permutation(len(requests)).tolist()

    async def client(number: int) -> None:
        position = number * len(order) // connections
        while (now := clock()) < book.end:
            which = order[position]
            position = (position + 1) % len(order)
            reply = await clients[number].ask(book.contents[which], now + timeout)
            book.note(which, now, now, now, reply)
            if not reply.status or reply.status in REFUSALS:
                await asyncio.sleep(PAUSE_SECONDS)

    clients = [Connection(book.server) for _ in range(connections)]
    try:
        for connection in clients:
            await connection.connect()
        with collector_off():
            book.begin()
            async with asyncio.TaskGroup() as group:
                for number in range(connections):
                    group.create_task(client(number))
    finally:
        for connection in clients:
            connection.close()
    return book.samples()


async def open_load(
    url: str,
    requests: Sequence[Request],
    *,
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    timeout: float = TIMEOUT_SECONDS,
    seed: int = 0,
    headers: Headers = (),
    tls: SSLContext | None = None,
) -> Samples:
    """Poisson arrivals of `rate` a second for `seconds`, over at most `connections` connections.

    A request that finds none free waits for one, first come, first served; `timeout` counts from the
    scheduled time too. Ends when the last one is answered or late. Raises as `closed_load` does.
    """
    if not rate > 0:
        raise RecipeError(f"rate is {rate}; it must be above 0 requests a second")
    book = _Book(Server.of(url, tls), requests, headers, seconds, timeout, connections)
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, size=int(rate * seconds * 1.2 + 10 * (rate * seconds) ** 0.5 + 10))
    due = np.cumsum(gaps)
    due = due[due < seconds].tolist()
    which = random.integers(len(requests), size=len(due)).tolist()
    backlog: deque[tuple[int, float]] = deque()
    idle: list[asyncio.Future[tuple[int, float] | None]] = []  # last in, first out: few connections stay warm
    loop = asyncio.get_running_loop()

    async def worker(connection: Connection) -> None:
        while True:
            if backlog:
                job: tuple[int, float] | None = backlog.popleft()
            else:
                idle.append(waiter := loop.create_future())
                job = await waiter
            if job is None:
                return
            arrival, noticed = job
            scheduled, started = book.start + due[arrival], clock()
            if started < scheduled + timeout:
                reply = await connection.ask(book.contents[which[arrival]], scheduled + timeout)
            else:
                reply = Reply(0, b"", False, started, "timeout")
            book.note(which[arrival], scheduled, noticed, started, reply)

    clients = [Connection(book.server) for _ in range(connections)]
    try:
        with collector_off():
            async with asyncio.TaskGroup() as group:
                for connection in clients:
                    group.create_task(worker(connection))
                await asyncio.sleep(0)
                book.begin()
                for arrival, offset in enumerate(due):
                    while (left := book.start + offset - clock()) > 0:
                        await asyncio.sleep(left - COARSE_SECONDS if left > COARSE_SECONDS else 0)
                    if idle:
                        idle.pop().set_result((arrival, clock()))
                    else:
                        backlog.append((arrival, clock()))
                await asyncio.sleep(max(0.0, book.end - clock()))
                while len(idle) < connections:
                    await asyncio.sleep(COARSE_SECONDS)
                for waiter in idle:
                    waiter.set_result(None)
    finally:
        for connection in clients:
            connection.close()
    return book.samples()


class _Book:
    """Checks the arguments, prepares the bytes, judges answers and keeps the columns of one run."""

    def __init__(
        self,
        server: Server,
        requests: Sequence[Request],
        headers: Headers,
        seconds: float,
        timeout: float,
        connections: int,
    ) -> None:
        if not requests or connections < 1 or not seconds > 0 or not timeout > 0:
            raise RecipeError(
                f"{len(requests)} requests over {connections} connections for {seconds} s, timeout {timeout} s, "
                "make no load; give at least one of each and times above 0"
            )
        self.server, self._requests, self._seconds = server, requests, seconds
        self.contents = [server.request(one.method, one.path, one.content_type, one.body, headers) for one in requests]
        self._times, self._codes = array("d"), array("q")
        self._errors: Counter[str] = Counter()
        self._verdicts: dict[tuple[int, bytes], bool] = {}
        self.start = self.end = 0.0

    def begin(self) -> None:
        """The clock of the run starts here."""
        self.start = clock()
        self.end = self.start + self._seconds

    def note(self, which: int, scheduled: float, noticed: float, started: float, reply: Reply) -> None:
        """One request is over."""
        if reply.error:
            self._errors[reply.error] += 1
        right = reply.status // 100 == 2 and self._judge(which, reply.body)
        self._times.extend((scheduled, noticed, started, reply.finished))
        self._codes.extend((reply.status, right, reply.retry_after, which))

    def _judge(self, which: int, body: bytes) -> bool:
        check = self._requests[which].check
        if check is None:
            return True
        known = self._verdicts.get((which, body))
        if known is None:
            known = self._verdicts[which, body] = check(body)
            if len(self._verdicts) > MAX_REMEMBERED:
                self._verdicts.clear()
        return known

    def samples(self) -> Samples:
        """The columns."""
        times = np.frombuffer(self._times, dtype=np.float64).reshape(-1, 4) - self.start
        codes: Array = np.frombuffer(self._codes, dtype=np.int64).reshape(-1, 4)
        return Samples(
            scheduled=times[:, 0], noticed=times[:, 1], started=times[:, 2], finished=times[:, 3],
            status=codes[:, 0], right=codes[:, 1] != 0, retry_after=codes[:, 2] != 0, request=codes[:, 3],
            errors=dict(self._errors), start=self.start, seconds=self._seconds,
        )  # fmt: skip


def _run(load: Coroutine[Any, Any, Samples]) -> Samples:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)
