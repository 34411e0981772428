"""A server over HTTP that answers LoadGen's queries, asked by an event loop in a thread of its own.

LoadGen's thread hands a query over and goes on; that, and waiting for Python's lock, is what it costs
here over a generator that is one event loop. `toolkit bench --self-test` measures it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

from toolkit.measure.client import Connection, Reply, Server, clock
from toolkit.measure.load import MAX_REMEMBERED, PAUSE_SECONDS, Headers, Request
from toolkit.measure.load_samples import REFUSALS
from toolkit.measure.loadgen_verdicts import Query, Verdicts


class HttpSubject:
    """Asks over at most `connections`; a query that finds none free waits for one.

    `timeout` seconds count from when the query was issued. `failure` is the first exception of a request's
    check, if any.
    """

    def __init__(
        self, server: Server, requests: Sequence[Request], *, connections: int, timeout: float, headers: Headers = ()
    ) -> None:
        self.verdicts = Verdicts()
        self.failure: Exception | None = None
        self._checks = [request.check for request in requests]
        self._contents = [server.request(r.method, r.path, r.content_type, r.body, headers) for r in requests]
        self._known: dict[tuple[int, bytes], bool] = {}
        self._timeout, self._pause = timeout, PAUSE_SECONDS if connections == 1 else 0.0
        self._connections = [Connection(server) for _ in range(connections)]
        self._idle = list(self._connections)  # last in, first out: few stay warm
        self._backlog: deque[Query] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._abandoned = False
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loadgen subject", daemon=True)
        self._thread.start()

    def issue(self, handles: list[int], rows: list[int]) -> None:
        """LoadGen's call: these are due."""
        self._loop.call_soon_threadsafe(self._spread, self.verdicts.begin(handles, rows))

    def abandon(self) -> None:
        """Answer whatever is still asked with nothing, at once."""
        self._abandoned = True
        self._loop.call_soon_threadsafe(self._hang_up)

    def close(self) -> None:
        """End the thread, once everything that was asked is over."""
        asyncio.run_coroutine_threadsafe(self._settle(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _spread(self, queries: list[Query]) -> None:
        self._backlog.extend(queries)
        for _ in range(min(len(self._idle), len(self._backlog))):
            task = self._loop.create_task(self._work(self._idle.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, connection: Connection) -> None:
        while self._backlog:
            query = self._backlog.popleft()
            now = clock()
            self.verdicts.started[query.place] = now
            deadline = self.verdicts.noticed[query.place] + self._timeout
            if self._abandoned or now >= deadline:
                reply = Reply(0, b"", False, now, "abandoned" if self._abandoned else "timeout")
            else:
                reply = await connection.ask(self._contents[query.row], deadline)
            if self._pause and (not reply.status or reply.status in REFUSALS) and not self._abandoned:
                await asyncio.sleep(self._pause)  # a lone client must not spin over a server that is gone
            self.verdicts.end([query], reply)
            self.verdicts.right[query.place] = reply.status // 100 == 2 and self._is_right(query.row, reply.body)
        self._idle.append(connection)

    def _is_right(self, row: int, body: bytes) -> bool:
        check = self._checks[row]
        if check is None:
            return True
        known = self._known.get((row, body))
        if known is None:
            try:
                known = check(body)
            except Exception as failure:  # a query that never ends would hold LoadGen for ever
                self.failure = self.failure or failure
                known = False
            if len(self._known) > MAX_REMEMBERED:
                self._known.clear()
            self._known[row, body] = known
        return known

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.close()

    async def _settle(self) -> None:
        await asyncio.gather(*self._tasks)
        self._hang_up()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
