"""The process above the workers: it replaces a dead one at once, gives up on one that cannot start, ends in order.

BentoML looks after its workers every ten seconds, starts one that cannot start again and again for ever, waits a day
for one that should end, and is steered over an open loopback port by whoever reaches it. Here: twice a second is too
rare, so five times; a worker that ends by itself with an error ends the server with that error, and so do five that
die young; while a killed one is replaced, this process answers 503 in its place (`doorkeeper`); the control socket
lies in a folder of its owner's; SIGTERM closes the listener of this process first, so that the worker's is the last
one and its closing is final.

Private to BentoML 1.4 and circus 0.19: `Arbiter` and what is overridden of it, the hooks of a `Watcher`, and
`SysHandler.quit`; tests/serving/test_serving_seam.py holds them. Limit: a worker that hangs (SIGSTOP) is not
replaced; its probes time out, which is for the orchestrator's liveness probe to act on.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bentoml._internal.utils.circus import Arbiter
from circus.exc import ConflictError  # type: ignore[import-untyped]

from toolkit.serving.doorkeeper import OPENED, Doorkeeper
from toolkit.serving.settings import settings_from

LOG = logging.getLogger("bentoml.toolkit")
CHECK_SECONDS = 0.2
YOUNG_SECONDS = 10.0
MOST_YOUNG_DEATHS = 5
ASKED = (signal.SIGTERM, signal.SIGINT)  # it has drained: whoever comes then is kept waiting, and answered
PATIENCE_SECONDS = 10.0  # beyond the drain, the slowest body, answer and reader


class FrontedArbiter(Arbiter):  # type: ignore[misc]  # circus is untyped for mypy
    """BentoML's arbiter, for workers that serve our application."""

    def __init__(self, watchers: Sequence[Any], *arguments: Any, **options: Any) -> None:
        limits = settings_from()
        self._folder = Path(tempfile.mkdtemp(prefix="toolkit-control-"))
        options |= {
            "check_delay": CHECK_SECONDS,
            "endpoint": f"ipc://{self._folder}/control",
            "pubsub_endpoint": f"ipc://{self._folder}/events",
        }
        super().__init__(watchers, *arguments, **options)
        self._failure: int | None = None
        self._told = False
        self._young_deaths = 0
        self._born: dict[int, float] = {}
        self._doorkeeper = Doorkeeper(self._folder / "opened")
        for watcher in watchers:
            watcher.graceful_timeout = PATIENCE_SECONDS + sum(
                (limits.drain_seconds, limits.body_seconds, limits.timeout_seconds, limits.send_seconds)
            )
            watcher.env[OPENED] = str(self._folder / "opened")
            watcher.hooks |= {"after_spawn": self._after_spawn, "after_reap": self._after_reap}
        self.ctrl.sys_hdl.quit = self._hear_signal

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Block until the server has ended; raises `SystemExit` with a worker's code when it could not start."""
        try:
            super().start(cb)
        except RuntimeError:  # "No active process found for watcher."
            if self._failure is None:
                raise
        finally:
            self.exit_stack.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._failure is not None:
            raise SystemExit(self._failure)

    def stop(self) -> Any:
        """Close this process' listener, then let the workers drain: the last one to close it makes it final."""
        self._doorkeeper.leave()
        self.sockets.close_all()
        return super().stop()

    def _hear_signal(self) -> None:
        self.loop.add_callback_from_signal(self._end_or_kill)

    def _end_or_kill(self) -> None:
        if self._told:
            for watcher in self.watchers:
                _kill(watcher)
            return
        self._told = True
        self._end()

    def _end(self) -> None:
        try:
            self.stop()
        except ConflictError:  # a worker is being started this moment
            self.loop.call_later(CHECK_SECONDS / 4, self._end)

    def _after_spawn(self, *, pid: int, **_: Any) -> bool:
        self._born[pid] = time.monotonic()
        return True

    def _after_reap(self, *, watcher: Any, process_pid: int, exit_code: int | None, **_: Any) -> bool:
        forget_gauges(watcher.env.get("PROMETHEUS_MULTIPROC_DIR"), process_pid)
        young = time.monotonic() - self._born.pop(process_pid, 0.0) < YOUNG_SECONDS
        if self._told or self._stopping:
            return True
        code = exit_code or 0
        self._young_deaths = self._young_deaths + 1 if young else 0
        if code > 0:
            LOG.error("the worker ended with %d and is not started again; its error stands above", code)
        elif self._young_deaths >= MOST_YOUNG_DEATHS:
            LOG.error("%d workers died within %g s each; no other is started", MOST_YOUNG_DEATHS, YOUNG_SECONDS)
        elif watcher.respawn:
            LOG.warning("the worker was ended by signal %d; another one is started", -code)
            if code < 0 and -code not in ASKED and not watcher.get_active_processes():
                self._doorkeeper.stand(self.sockets.values())
            return True
        self._doorkeeper.leave()
        self._failure = code if code > 0 else 1
        watcher.respawn = False
        return True


def _kill(watcher: Any) -> None:
    for process in watcher.get_active_processes():
        os.kill(process.pid, signal.SIGKILL)


def forget_gauges(folder: str | None, pid: int) -> None:
    """Remove what a dead worker said of itself as it was: its queue is empty now."""
    if folder:
        for file in Path(folder).glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)
