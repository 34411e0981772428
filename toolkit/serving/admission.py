"""Who may work, who waits, who is turned away: a bounded queue and a fixed number of threads that run.

A slot is a thread, and it is held until the run really ends, whatever happened to the requests in it: no more run
at once than was allowed, ever. Who is late or has left is dropped from the queue at no cost; a run that nobody
waits for any more is ended. A request that could not be answered within the objective is refused at once, by what
the waiting work is expected to cost and by how far the clock has disagreed with that lately: a machine that is
throttled, a cascade that is asked hard questions, batches that are cheaper than their rows.

`Admission` is used from one event loop; its threads take from it under a lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.runners.cancel import Cancelled
from toolkit.serving.bodies import ClientLeft
from toolkit.serving.jobs import Job, Outcome, Run
from toolkit.serving.problems import not_ready, overloaded, too_late
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings

SWEEP_SECONDS = 0.01  # one look at all requests in hand costs less than a timer and a task for each
PACE_WEIGHT = 0.05  # of the newest in the running means of measured over expected cost, and of a request's cost
SLOWER_WEIGHT, MOST_SLOWER = 0.2, 3.0  # trouble is seen at once, but one pause is not the new pace
HEADROOM = 0.6  # of the objective: what is admitted must be answered within it, and a mean is not a p99


@dataclass(eq=False)
class _Asker:
    """Who waits for a job: its future, until when (the loop's seconds), and whether its client is gone."""

    future: asyncio.Future[bytes]
    deadline: float
    left: Callable[[], bool] | None


class Admission:
    """`settings.concurrency` threads and room for `settings.queue` requests that wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._waiting: dict[Job, _Asker] = {}
        self._running: dict[Job, tuple[Run, _Asker]] = {}
        self._swept: asyncio.AbstractEventLoop | None = None  # the loop in which a next look is due
        self._idle = 0
        self._closed = False
        self._expected = 0.0
        self._usual = 0.0
        self._announced = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True)
            for number in range(settings.concurrency)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests in runs."""
        return len(self._running)

    def full(self, served: Served) -> bool:
        """True when a request of the usual cost would be turned away, after those that are announced."""
        return self._refuses(self._usual, served, self._announced)

    def announce(self) -> None:
        """One more has been let in and is about to come: until the loop's next turn it counts as a usual one.

        Who did not come by then is forgotten: a GET, or a body that is still on its way.
        """
        if not self._announced:
            asyncio.get_running_loop().call_soon(self._forget)
        self._announced += 1

    def _forget(self) -> None:
        self._announced = 0

    def _refuses(self, cost: float, served: Served, announced: int = 0) -> bool:
        before = self._expected + announced * self._usual
        if not before:
            return False
        if len(self._waiting) + announced >= self._settings.queue + self._idle:
            return True
        expected = (before / self._settings.concurrency + cost) * served.pace
        return expected > self._settings.objective_ms * HEADROOM

    async def run(self, job: Job, left: Callable[[], bool] | None = None) -> bytes:
        """The answer to `job`; `left` says whether its client is gone.

        Raises `Problem` 503 when there is no room, 504 when it is late, `ClientLeft`, and whatever the job raised.
        """
        loop = asyncio.get_running_loop()
        asker = _Asker(loop.create_future(), loop.time() + self._settings.timeout_seconds, left)
        self._submit(job, asker)
        if self._swept is not loop:
            self._look_later(loop)
        try:
            return await asker.future
        except asyncio.CancelledError:  # the server drops the request
            self._drop(job)
            raise

    def _submit(self, job: Job, asker: _Asker) -> None:
        with self._changed:
            if self._closed:
                raise not_ready()
            self._usual += PACE_WEIGHT * (job.cost - self._usual)
            if self._refuses(job.cost, job.served):
                raise overloaded()
            self._waiting[job] = asker
            self._expected += job.cost
            self._changed.notify()

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the wait of whoever is late or has left, and look again while anybody waits."""
        with self._changed:
            askers = [*self._waiting.items(), *((job, asker) for job, (_, asker) in self._running.items())]
        now = loop.time()
        for job, asker in askers:
            late = now >= asker.deadline
            if not asker.future.done() and (late or (asker.left is not None and asker.left())):
                self._drop(job)
                asker.future.set_exception(too_late() if late else ClientLeft())
        self._swept = None
        if askers:
            self._look_later(loop)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._swept = loop
        loop.call_later(SWEEP_SECONDS, self._look_after, loop)

    def _drop(self, job: Job) -> None:
        """Nobody waits for `job` any more."""
        with self._changed:
            if self._waiting.pop(job, None) is not None:
                self._expected -= job.cost
            elif (running := self._running.get(job)) is not None:
                running[0].give_up(job)

    def _work(self) -> None:
        while (run := self._take()) is not None:
            start = time.perf_counter()
            outcomes = run.answer()
            self._end(run, outcomes, (time.perf_counter() - start) * 1e3)

    def _take(self) -> Run | None:
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closed:
                self._changed.wait()
            self._idle -= 1
            if self._closed:
                return None
            head = next(iter(self._waiting))
            run = Run([head] if head.examples is None else head.batching.choose(head, self._company(head)))
            for job in run.jobs:
                self._running[job] = (run, self._waiting.pop(job))
        return run

    def _company(self, head: Job) -> Sequence[Job]:
        return [
            job for job in self._waiting if job is not head and job.examples is not None and job.served is head.served
        ]

    def _end(self, run: Run, outcomes: Sequence[Outcome], milliseconds: float) -> None:
        with self._changed:
            futures = [self._running.pop(job)[1].future for job in run.jobs]
            self._expected = max(self._expected - run.cost, 0.0) if self._waiting or self._running else 0.0
            # what a large body or typed arrays will take is a guess, so they say nothing about the clock
            if run.jobs[0].examples is not None and not run.cancel.cancelled:
                _keep_pace(run.jobs[0].served, milliseconds / run.cost)
        loop = futures[0].get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, futures, outcomes)

    def close(self) -> None:
        """Take no more work, refuse what waits, and wait for what runs."""
        with self._changed:
            self._closed = True
            dropped, self._waiting = list(self._waiting.values()), {}
            self._changed.notify_all()
        for asker in dropped:
            if not asker.future.done():
                asker.future.set_exception(not_ready())
        for thread in self._threads:
            thread.join()


def _keep_pace(served: Served, ratio: float) -> None:
    weight = SLOWER_WEIGHT if ratio > served.pace else PACE_WEIGHT
    served.pace += weight * (min(ratio, MOST_SLOWER * served.pace) - served.pace)


def _settle(futures: Sequence[asyncio.Future[bytes]], outcomes: Sequence[Outcome]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if future.done():  # late, or its client has left
            continue
        if isinstance(outcome, bytes):
            future.set_result(outcome)
        elif isinstance(outcome, Cancelled):
            future.set_exception(too_late())
        else:
            future.set_exception(outcome)
