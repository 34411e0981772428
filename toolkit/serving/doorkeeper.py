"""Who answers while no worker lives: 503 at once, until the next worker has opened.

The listening socket outlives a killed worker, so the kernel goes on taking connections that nobody serves: clients
and probes hang for as long as the next one takes to load, seconds on a slow machine. Here the process above the
workers takes them, and says not_ready with Retry-After to whatever is asked. A worker that has opened says so by a
file that it is told of in its environment.

It runs in the loop of that process, so no thread lives while another worker is forked. Limit: over TLS a connection
is closed without a word, since only workers hold the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from toolkit.serving.listener import unlock
from toolkit.serving.problems import CLOSE, not_ready

OPENED = "TOOLKIT_OPENED_FILE"
LOOK_SECONDS = 0.02
READ_SECONDS = 2.0  # for a head, and for the end of what was being sent
MOST_BYTES = 1 << 16
BACKLOG = 2048
HANDSHAKE = b"\x16"  # the first byte of TLS (RFC 8446, section 5.1)


def say_opened() -> None:
    """A worker's word that it takes connections now; nothing where nobody asked for it."""
    if path := os.environ.get(OPENED):
        Path(path).touch()


class Doorkeeper:
    """One for a server. `stand` and `leave` are called in a running asyncio loop, any number of times."""

    def __init__(self, opened: Path) -> None:
        self._opened = opened
        self._watch: asyncio.Task[None] | None = None

    @property
    def stands(self) -> bool:
        """True while it answers."""
        return self._watch is not None and not self._watch.done()

    def stand(self, listeners: Iterable[socket.socket]) -> None:
        """Answer on copies of `listeners` until the opened file appears; one that lies there is of a dead worker."""
        self.leave()
        self._opened.unlink(missing_ok=True)
        copies = [socket.socket(fileno=os.dup(listener.fileno())) for listener in listeners]
        self._watch = asyncio.get_running_loop().create_task(self._stand(copies))

    def leave(self) -> None:
        """Answer nobody from now on; who is being answered is answered."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _stand(self, copies: list[socket.socket]) -> None:
        servers = []
        try:
            for copy in copies:
                unlock(copy)  # a worker that was killed in its drain has locked it
                servers.append(await asyncio.start_server(_refuse, sock=copy, backlog=BACKLOG, limit=MOST_BYTES))
            while not self._opened.exists():
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for server in servers:
                server.close()
            for copy in copies:
                copy.close()  # the socket itself goes on listening


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        async with asyncio.timeout(READ_SECONDS):
            head = await reader.readexactly(1)
            if head != HANDSHAKE:
                # unread bytes at a close are a reset, which may overtake the answer: so the head first, then the rest
                await reader.readuntil(b"\r\n\r\n")
                writer.write(REFUSAL)
                await writer.drain()
                writer.write_eof()
                while await reader.read(MOST_BYTES):
                    pass
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _refusal() -> bytes:
    problem = not_ready()
    body = json.dumps(problem.to_json()).encode()
    headers = [
        (b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)), *problem.headers, CLOSE,
    ]  # fmt: skip
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + lines + b"\r\n" + body


REFUSAL = _refusal()
