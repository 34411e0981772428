"""Processes of a server under test, known by the pid that it was started with and by nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

WORKER = "_bentoml_impl.worker.service"
TICKS = os.sysconf("SC_CLK_TCK")


class Family:
    """A started process and its children, remembered so that none outlives the stand."""

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self._seen: set[Any] = {self.root}

    def all(self) -> list[Any]:
        """The process and every child that lives now."""
        try:
            found = [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._seen.update(found)
        return found

    def workers(self) -> list[Any]:
        """Those that serve: BentoML's worker processes, or the process itself where it serves alone."""
        found = []
        for process in self.all()[1:]:
            with contextlib.suppress(psutil.Error):
                if WORKER in process.cmdline():
                    found.append(process)
        return found or [self.root]

    def send(self, number: signal.Signals) -> list[int]:
        """A signal to every worker; their pids."""
        told = []
        for process in self.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                told.append(process.pid)
        return told

    def end(self, patience: float) -> None:
        """SIGTERM, then SIGKILL for whoever is left of all that were ever seen."""
        self.all()
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:
                    process.resume()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.root.terminate()
        psutil.wait_procs([self.root], timeout=patience)
        self.all()
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processor_seconds(self) -> float:
        """What the workers have used so far."""
        times = [process.cpu_times() for process in self.workers()]
        return float(sum(one.user + one.system for one in times))

    def memory_bytes(self) -> int:
        """Resident memory of the workers."""
        return int(sum(process.memory_info().rss for process in self.workers()))

    def census(self) -> dict[str, float]:
        """What must stay flat: megabytes, threads, descriptors of the workers."""
        workers = self.workers()
        return {
            "rss_mb": sum(one.memory_info().rss for one in workers) / 1e6,
            "threads": sum(one.num_threads() for one in workers),
            "descriptors": sum(one.num_fds() for one in workers),
        }


@contextlib.contextmanager
def watching_memory(family: Family) -> Iterator[dict[str, float]]:
    """Sample resident memory fifty times a second; `start_mb`, `peak_mb`, `growth_mb` are there afterwards."""
    found: dict[str, float] = {"start_mb": family.memory_bytes() / 1e6}
    peak = found["start_mb"]
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            with contextlib.suppress(psutil.Error):
                peak = max(peak, family.memory_bytes() / 1e6)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found["peak_mb"] = round(peak, 1)
        found["start_mb"] = round(found["start_mb"], 1)
        found["growth_mb"] = round(peak - found["start_mb"], 1)


@contextlib.contextmanager
def watching_runs(pid: int) -> Iterator[dict[str, int]]:
    """Sample which threads but the main one run or want to; `most_at_once` counts those that really computed.

    A thread waiting for Python's lock sleeps; one inside the runtime does not: so runs at once are seen from outside,
    on one core too. Threads that used less than 50 ms in all are no runs.
    """
    found: dict[str, int] = {}
    over = threading.Event()
    before = _ticks(pid)
    samples: list[tuple[int, ...]] = []

    def watch() -> None:
        while not over.wait(0.004):
            samples.append(tuple(_running(pid)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        used = {thread: ticks - before.get(thread, 0) for thread, ticks in _ticks(pid).items()}
        worked = {thread for thread, ticks in used.items() if ticks >= 0.05 * TICKS}
        together = Counter(len(worked.intersection(sample)) for sample in samples)
        # one sample may fall between the end of a run and the sleep of its thread
        found["most_at_once"] = max((n for n, times in together.items() if times >= 3), default=0)
        found["threads_that_ran"] = len(worked)


def _running(pid: int) -> Iterator[int]:
    for task, fields in _tasks(pid):
        if fields[0] == "R" and task != pid:
            yield task


def _ticks(pid: int) -> dict[int, int]:
    return {task: int(fields[11]) + int(fields[12]) for task, fields in _tasks(pid) if task != pid}


def _tasks(pid: int) -> Iterator[tuple[int, list[str]]]:
    """Thread id and the fields of its stat from the state on (proc(5))."""
    try:
        entries = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()


def wait_until_idle(family: Family, *, seconds: float, share: float = 0.1) -> float:
    """Processor seconds that the workers used until a half second in which they used less than `share` of one."""
    first = before = family.processor_seconds()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = family.processor_seconds()
        if now - before < share * 0.5:
            return now - first
        before = now
    return family.processor_seconds() - first
