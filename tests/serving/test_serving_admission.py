"""Slots: taken before the work, held until it ends, refused when there are none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from toolkit.serving.admission import Admission
from toolkit.serving.problems import Problem


def make(**settings: Any) -> Admission:
    return Admission(**{"concurrency": 1, "queue": 1, "timeout_seconds": 5.0, **settings})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def test_work_gives_its_result_or_its_error_and_frees_its_slot() -> None:
    async def scenario() -> None:
        admission = make()
        assert await admission.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await admission.run(lambda: 1 // 0)
        await until(lambda: admission.taken == 0)
        admission.close()

    asyncio.run(scenario())


def test_never_more_at_once_than_allowed_and_the_rest_refused() -> None:
    async def scenario() -> None:
        admission = make(concurrency=2, queue=3)
        lock, release = threading.Lock(), threading.Event()
        running = most = 0

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            release.wait(5)
            with lock:
                running -= 1

        jobs = [asyncio.create_task(admission.run(work)) for _ in range(9)]
        await until(lambda: running == 2 and sum(job.done() for job in jobs) == 4)
        release.set()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Problem)]
        assert [problem.code for problem in refused] == ["overloaded"] * 4
        assert all(problem.headers == ((b"retry-after", b"1"),) for problem in refused)
        assert most == 2
        await until(lambda: admission.taken == 0)
        admission.close()

    asyncio.run(scenario())


def test_late_work_holds_its_slot_until_it_ends_and_late_waiters_never_start() -> None:
    async def scenario() -> None:
        admission = make(timeout_seconds=0.05)
        release, started = threading.Event(), threading.Event()
        runs = asyncio.create_task(admission.run(lambda: release.wait(5)))
        await until(lambda: admission.taken == 1)
        waits = asyncio.create_task(admission.run(started.set))
        for job in (runs, waits):
            with pytest.raises(Problem) as caught:
                await job
            assert caught.value.status == 504
        await until(lambda: admission.taken == 1)
        release.set()
        await until(lambda: admission.taken == 0)
        assert not started.is_set()
        admission.close()

    asyncio.run(scenario())


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async def scenario() -> None:
        admission = make()
        release, started = threading.Event(), threading.Event()
        runs = asyncio.create_task(admission.run(lambda: release.wait(5)))
        waits = asyncio.create_task(admission.run(started.set))
        await until(lambda: admission.taken == 2)
        waits.cancel()
        await until(lambda: admission.taken == 1)
        release.set()
        assert await runs
        assert not started.is_set()
        admission.close()

    asyncio.run(scenario())


def test_closed_means_not_ready() -> None:
    async def scenario() -> None:
        admission = make()
        admission.close()
        with pytest.raises(Problem, match="not_ready"):
            await admission.run(lambda: 7)

    asyncio.run(scenario())
