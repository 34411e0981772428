"""How many requests may work and wait at once: a bounded pool off the event loop.

A slot is taken before the work starts and held until it really ends, whatever happened to the
request: work that outlives its deadline still occupies its thread, and counting it as free would let
more run at once than the machine was given. A request that gives up while it waits leaves the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from toolkit.serving.problems import not_ready, overloaded, too_late

T = TypeVar("T")


class Admission:
    """`concurrency` threads and room for `queue` more requests; used from one event loop only."""

    def __init__(self, *, concurrency: int, queue: int, timeout_seconds: float) -> None:
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(concurrency, thread_name_prefix="inference")
        self._capacity = concurrency + queue
        self._timeout = timeout_seconds
        self._taken = 0

    @property
    def taken(self) -> int:
        """Requests that run or wait."""
        return self._taken

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the pool; raises `Problem` 503 when there is no room, 504 when it is late."""
        if self._pool is None:
            raise not_ready()
        if self._taken >= self._capacity:
            raise overloaded()
        loop = asyncio.get_running_loop()
        self._taken += 1
        job: Future[T] = self._pool.submit(work)
        job.add_done_callback(lambda _: self._release_on(loop))
        try:
            # a timeout or a lost client cancels the job: one that waits is dropped, one that runs goes on
            return await asyncio.wait_for(asyncio.wrap_future(job), self._timeout)
        except TimeoutError:
            raise too_late() from None

    def _release_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._taken -= 1

    def close(self) -> None:
        """Take no more work, and wait for what runs."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.shutdown(wait=True, cancel_futures=True)
