"""Servers that stand for a benchmark: on a core of their own, stopped while others are measured, watched for deaths.

Some servers use an eighth of a core while nobody asks anything, so one that waits for its turn is stopped (SIGSTOP),
its workers too. A server whose process ends, or one of whose processes is not there any more, is *dead*: whatever was
measured meanwhile is of nothing.

With one thread the servers stand on the first processor that this process may use and the load generator on the
second; with more, or with one processor only, nothing is pinned, and the result says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.artifact import Artifact
from toolkit.errors import GateError, require
from toolkit.measure.load import Request
from toolkit.measure.served_rungs import OverHttp
from toolkit.serving.serve import LOOPBACK, Launch, Server, free_port, prepare
from toolkit.serving.settings import variable

START_SECONDS = 90.0
SETTLE_SECONDS, STOP_SECONDS = 0.3, 5.0


class ServerGoneError(GateError):
    """A server that died while it was measured."""


@dataclass
class Standing:
    """A server that is ready; `processes` are its own, as they were when it was."""

    name: str
    server: Server
    generator: int | None
    start_seconds: float
    processes: Sequence[Any] = field(repr=False)

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.server.url

    @property
    def trouble(self) -> str:
        """How it died, in a few words; empty while it lives."""
        if (code := self.server.process.poll()) is not None:
            said = self.server.log_tail().splitlines()[-1:] or ["nothing"]
            return f"it ended with {code} and said last: {said[0][:200]}"
        gone = [process for process in self.processes if not _lives(process)]
        return f"its process {gone[0].pid} is gone" if gone else ""

    @property
    def dead(self) -> bool:
        """Whether it died since it was ready."""
        return bool(self.trouble)

    def check(self) -> None:
        """Raise `ServerGoneError` when it died."""
        if trouble := self.trouble:
            raise ServerGoneError(f"the server of {self.name} died while it was measured: {trouble}")

    def subject(self, requests: Sequence[Request], *, seed: int) -> OverHttp:
        """One connection to it, awake for each turn."""
        return OverHttp(self.url, requests, awake=self.awake, seed=seed)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run inside, with this process on the generator's core; stop it after."""
        with on_core(self.generator):
            self.resume()
            try:
                yield
            finally:
                self.stop()

    def stop(self) -> None:
        """Stop its processes where they are; returns once they are, so that the next turn has the core alone."""
        psutil = require("psutil", extra="serve")
        self._tell("suspend")
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                # a busy machine has yet to run it once before it stops
                while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                    if time.monotonic() > deadline:
                        return
                    time.sleep(0.005)

    def resume(self) -> None:
        """Let them go on."""
        self._tell("resume")

    def _tell(self, word: str) -> None:
        for process in self.processes:
            with contextlib.suppress(require("psutil", extra="serve").NoSuchProcess):
                getattr(process, word)()


@contextmanager
def stand(
    artifact: Artifact, *, name: str, folder: Path, threads: int, objective_ms: float, core: int | None,
    generator: int | None,
) -> Iterator[Standing]:  # fmt: skip
    """Serve `artifact` on loopback as `toolkit serve` does, told of the objective; yields it stopped, ends it after.

    `folder` takes its log. Raises `ServerStartError` when it is not ready in 90 s. SIGTERM to this process ends the
    server too: nobody else would wake one that is stopped.
    """
    psutil = require("psutil", extra="serve")
    port, begun = free_port(), time.monotonic()
    launch = prepare(artifact.folder, host=LOOPBACK, port=port, threads=threads)
    # nobody else sends it requests, so it need not wait for them when it ends
    told = {variable("objective_ms"): f"{objective_ms:g}", variable("drain_seconds"): "0.01",
            "OMP_NUM_THREADS": str(threads)}  # fmt: skip
    with _ending_on_sigterm():
        with on_core(core):  # a process stands where the one stood that started it
            server = Server.start(
                Launch(launch.command, {**launch.environment, **told}), port=port, log=folder / f"{port}.log"
            )
        one: Standing | None = None
        try:
            server.wait_until_ready(START_SECONDS)
            main = psutil.Process(server.process.pid)
            family = [main, *main.children(recursive=True)]
            one = Standing(name, server, generator, time.monotonic() - begun, family)
            time.sleep(SETTLE_SECONDS)
            one.stop()
            yield one
        finally:
            if one is not None:  # who is stopped does not hear that it shall end
                one.resume()
            server.stop()
            if one is not None:  # workers outlive a server that was killed
                one._tell("kill")


def cores(threads: int) -> tuple[int | None, int | None]:
    """The processor of what is measured and that of the load generator; None for both where they are not pinned."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (allowed[0], allowed[1]) if threads == 1 and len(allowed) > 1 else (None, None)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """This thread, and what it starts, on one processor inside; None leaves it where it is."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _lives(process: Any) -> bool:
    psutil = require("psutil", extra="serve")
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM unwinds inside instead of ending the process where it is; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
