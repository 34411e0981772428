"""Slots: held until the run ends, refused when there are none; what nobody waits for is dropped or ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from toolkit.artifact import Artifact
from toolkit.runners.cancel import Cancel
from toolkit.serving.admission import HEADROOM, Admission
from toolkit.serving.bodies import ClientLeft
from toolkit.serving.jobs import Job
from toolkit.serving.loading import load_served
from toolkit.serving.problems import Problem
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings

Work = Callable[[Cancel], bytes]


class Desk:
    """An admission, and jobs of a real model that do what a test says."""

    def __init__(self, served: Served, **settings: Any) -> None:
        self.served = served
        self.admission = Admission(Settings(**{"queue": 1, "timeout_seconds": 5.0, **settings}))

    def ask(self, work: Work, left: Callable[[], bool] | None = None) -> asyncio.Task[bytes]:
        return asyncio.create_task(self.admission.run(Job(self.served, work, examples=["a"]), left))

    async def until_running(self, count: int) -> None:
        await until(lambda: self.admission.running == count and not self.admission.waiting)


@pytest.fixture
def served(artifacts: dict[str, Artifact]) -> Iterator[Served]:
    served = load_served(artifacts["text"].folder)
    served.batching = replace(served.batching, max_rows=1)  # what a job does is the test's own word
    yield served
    served.predictor.close()


@pytest.fixture
def desk(served: Served) -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def make(**settings: Any) -> Desk:
        opened.append(Desk(served, **settings))
        return opened[-1]

    yield make
    for each in opened:
        each.admission.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def held(release: threading.Event) -> Work:
    """Work that waits to be released."""

    def work(cancel: Cancel) -> bytes:
        assert release.wait(10)
        return b"done"

    return work


def telling(started: threading.Event) -> Work:
    """Work that says it was begun."""

    def work(cancel: Cancel) -> bytes:
        started.set()
        return b""

    return work


def test_work_gives_its_result_or_its_error_and_frees_its_slot(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk()
        assert await at.ask(lambda cancel: b"7") == b"7"
        with pytest.raises(ZeroDivisionError):
            await at.ask(lambda cancel: b"%d" % (1 // 0))
        await at.until_running(0)
        assert not at.admission.full(at.served)

    asyncio.run(scenario())


def test_never_more_at_once_than_allowed_and_the_rest_refused(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk(concurrency=2, queue=3)
        lock, release = threading.Lock(), threading.Event()
        running = most = 0

        def work(cancel: Cancel) -> bytes:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            release.wait(5)
            with lock:
                running -= 1
            return b""

        jobs = [at.ask(work), at.ask(work)]
        await at.until_running(2)
        jobs += [at.ask(work) for _ in range(7)]
        await until(lambda: sum(job.done() for job in jobs) == 4)
        assert at.admission.full(at.served)
        release.set()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Problem)]
        assert [problem.code for problem in refused] == ["overloaded"] * 4
        assert all(problem.headers == ((b"retry-after", b"1"),) for problem in refused)
        assert most == 2
        await at.until_running(0)

    asyncio.run(scenario())


def test_those_announced_count_until_the_loop_s_next_turn(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk(queue=2)
        release = threading.Event()
        jobs = [at.ask(held(release))]
        await at.until_running(1)
        at.admission.announce()
        assert not at.admission.full(at.served)
        at.admission.announce()
        assert at.admission.full(at.served), "the two that come fill the queue"
        jobs.append(at.ask(held(release)))
        await asyncio.sleep(0)
        assert at.admission.waiting == 1
        assert not at.admission.full(at.served), "the other did not come, and is forgotten"
        release.set()
        assert await asyncio.gather(*jobs) == [b"done"] * 2

    asyncio.run(scenario())


def test_late_work_holds_its_slot_until_it_ends_and_late_waiters_never_start(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk(timeout_seconds=0.05)
        release, started = threading.Event(), threading.Event()
        runs = at.ask(held(release))
        await at.until_running(1)
        waits = at.ask(telling(started))
        for job in (runs, waits):
            with pytest.raises(Problem) as caught:
                await job
            assert caught.value.status == 504
        assert (at.admission.running, at.admission.waiting) == (1, 0)
        release.set()
        await at.until_running(0)
        assert not started.is_set()

    asyncio.run(scenario())


def test_a_run_that_nobody_waits_for_is_told_to_end(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk(timeout_seconds=0.05)
        ended = threading.Event()

        def work(cancel: Cancel) -> bytes:
            with cancel.ending(ended.set):
                assert ended.wait(5)
            cancel.check()
            return b"an answer that nobody hears"

        with pytest.raises(Problem, match="504"):
            await at.ask(work)
        assert ended.is_set()
        await at.until_running(0)

    asyncio.run(scenario())


def test_who_leaves_the_queue_is_never_run(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk(queue=2)
        release, started, gone = threading.Event(), threading.Event(), threading.Event()
        runs = at.ask(held(release))
        await at.until_running(1)
        leaves = at.ask(telling(started), gone.is_set)
        await until(lambda: at.admission.waiting == 1)
        gone.set()
        with pytest.raises(ClientLeft):
            await leaves
        cancelled = at.ask(telling(started))
        await until(lambda: at.admission.waiting == 1)
        cancelled.cancel()
        await until(lambda: at.admission.waiting == 0)
        release.set()
        assert await runs == b"done"
        assert not started.is_set()

    asyncio.run(scenario())


def test_what_could_not_be_answered_within_the_objective_is_refused(served: Served) -> None:
    async def scenario() -> None:
        # by its cost alone one job fits three times into the objective
        at = Desk(served, queue=64, objective_ms=Job(served, lambda cancel: b"").cost / HEADROOM * 3.5)
        release = threading.Event()
        try:
            first = at.ask(held(release))
            await at.until_running(1)
            waits = [at.ask(lambda cancel: b"") for _ in range(2)]
            await until(lambda: at.admission.waiting == 2)
            with pytest.raises(Problem, match="overloaded"):
                await at.ask(lambda cancel: b"")
            release.set()
            await asyncio.gather(first, *waits)
        finally:
            release.set()
            at.admission.close()

    asyncio.run(scenario())


def test_a_slow_machine_is_noticed(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk(objective_ms=30.0, queue=64)

        def slow(cancel: Cancel) -> bytes:
            time.sleep(0.02)
            return b""

        for _ in range(20):
            await at.ask(slow)
        assert at.served.pace > 1
        results = await asyncio.gather(*[at.ask(slow) for _ in range(10)], return_exceptions=True)
        assert sum(isinstance(result, Problem) for result in results) >= 7

    asyncio.run(scenario())


def test_work_of_unknown_length_says_nothing_about_the_clock(served: Served) -> None:
    async def scenario() -> None:
        at = Desk(served)

        def long(cancel: Cancel) -> bytes:
            time.sleep(0.05)
            return b""

        try:
            for _ in range(5):
                await at.admission.run(Job(served, long))  # a large body, whose rows nobody has counted yet
            assert served.pace == 1
        finally:
            at.admission.close()

    asyncio.run(scenario())


def test_closed_means_not_ready(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk()
        release = threading.Event()
        runs = at.ask(held(release))
        await at.until_running(1)
        waits = at.ask(lambda cancel: b"")
        await until(lambda: at.admission.waiting == 1)
        release.set()
        at.admission.close()
        with pytest.raises(Problem, match="not_ready"):
            await waits
        assert await runs == b"done"
        with pytest.raises(Problem, match="not_ready"):
            await at.ask(lambda cancel: b"")

    asyncio.run(scenario())


def test_one_pause_is_not_the_new_pace(desk: Callable[..., Desk]) -> None:
    async def scenario() -> None:
        at = desk()

        def pause(cancel: Cancel) -> bytes:
            time.sleep(0.2)
            return b""

        await at.ask(pause)
        await at.until_running(0)
        assert 1 < at.served.pace < 2

    asyncio.run(scenario())
