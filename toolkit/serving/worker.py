"""The web server in a worker: our protocol, TLS 1.3 or nothing, and an end that loses nothing.

On SIGTERM the application stops being ready and puts Connection: close on its answers, while the listener stays
open for `drain_seconds`; then the listener closes, what is in hand is finished, and the process ends. A second
signal ends it at once. Without that order a load balancer still sends requests to a closed door.

Private to uvicorn 0.54: `Config.__init__`, and `startup`, `on_tick`, `shutdown` and `handle_exit` of `Server`;
tests/serving/test_serving_seam.py holds them. Limit: a client that keeps a connection idle through the whole drain
and sends its next request at the moment the connection closes must send it again (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from toolkit.serving.connections import SWEEP_SECONDS, GuardedProtocol
from toolkit.serving.doorkeeper import say_opened
from toolkit.serving.known_heads import KnownHeads
from toolkit.serving.listener import accept_all, lock, unlock

if TYPE_CHECKING:
    import socket

    from toolkit.serving.app import App

STARTUP_FAILURE = 3
SPARE_DESCRIPTORS = 256  # beyond one a connection: the model, the metrics, the log
HANDSHAKE_SECONDS = 0.05  # for connections that have begun when the listener is locked


class FrontedConfig(uvicorn.Config):
    """uvicorn's settings, as BentoML chose them, for an `App`: nothing else is served by them."""

    def __init__(self, app: App, **options: Any) -> None:
        if options.get("ssl_certfile"):
            options["ssl_context_factory"] = modern_tls
        # client addresses are never used, no other protocol is spoken, and a log of paths would quote them
        ours = {"http": GuardedProtocol, "ws": "none", "proxy_headers": False, "access_log": False}
        super().__init__(app, **options | ours)
        self.front = app
        self.draining = False
        self.known_heads = KnownHeads()


def modern_tls(config: uvicorn.Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """uvicorn's own context, from TLS 1.3 on."""
    context = make()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class FrontedServer(uvicorn.Server):
    """uvicorn's server with a drain before its shutdown, and a sweep over its connections."""

    config: FrontedConfig

    def __init__(self, config: FrontedConfig) -> None:
        super().__init__(config)
        self._told_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, for sockets that are given, with bounds on the TLS handshake."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        limits = self.config.front.settings
        allow_descriptors(limits.max_connections + SPARE_DESCRIPTORS)
        loop = asyncio.get_running_loop()
        self._make = partial(
            GuardedProtocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        self._secure: dict[str, Any] = {"ssl": self.config.ssl}
        if self.config.ssl is not None:
            self._secure |= {"ssl_handshake_timeout": limits.header_seconds, "ssl_shutdown_timeout": SWEEP_SECONDS}
        for sock in sockets or ():
            unlock(sock)
        self.servers = [
            await loop.create_server(self._make, sock=sock, backlog=self.config.backlog, **self._secure)
            for sock in sockets or ()
        ]
        self._sweeper = loop.create_task(self._sweep())
        let_runs_finish()
        self.started = True
        say_opened()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for connection in tuple(self.server_state.connections):
                connection.sweep(loop.time())  # type: ignore[union-attr]  # ours, every one

    async def on_tick(self, counter: int) -> bool:
        if self._told_at is not None:
            if not self.config.draining:
                self.config.draining = True
                self.config.front.drain()
            if time.monotonic() - self._told_at >= self.config.front.settings.drain_seconds:
                self.should_exit = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain, then end. Second signal: end by it, at once."""
        if self._told_at is not None or not self.started:
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
            return
        self._told_at = time.monotonic()
        self._captured_signals.append(sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._take_the_last(sockets or [])
        await super().shutdown(sockets=sockets)
        self._sweeper.cancel()

    async def _take_the_last(self, sockets: list[socket.socket]) -> None:
        """Lock the listener, accept whoever has come that far, and close it: nobody's connection is reset."""
        for sock in sockets:
            lock(sock)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        waiting: list[socket.socket] = []
        for server, sock in zip(self.servers, sockets, strict=True):
            with sock.dup() as listener:
                server.close()
                waiting += accept_all(listener)
                sock.close()
        loop = asyncio.get_running_loop()
        for accepted in waiting:
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._make, accepted, **self._secure)


def let_runs_finish() -> None:
    """Where a run and this thread share a core, wake up behind the run and not in the middle of it.

    By itself every request and every answer would push a run aside, with a fight for the interpreter's lock each time.
    It waits for a slice of the scheduler, a few milliseconds; where a core is free it waits for nothing.
    Source: sched(7), SCHED_BATCH.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def allow_descriptors(wanted: int) -> None:
    """Raise the soft limit of open files to `wanted` where the hard limit lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
