"""One HTTP/1.1 connection that asks and times, on an asyncio protocol: as little between the socket and the clock as
can be.

A load generator must cost less than what it measures. A general client spends half a millisecond a
request on pools, redirects and header objects; this writes prepared bytes and lets httptools (the
parser of Node, what uvicorn uses) find the end of the answer. Every failure is a `Reply` of status
0 with a name, never an exception: under faults they are the result.

Limits: one request in flight a connection, no redirects, no compression, no `Expect`. An idle
connection is not used again after 2 s: a server closes its own after 5, and the race between that
and the next request would look like a failure. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from toolkit.errors import InputError, require

IDLE_SECONDS = 2.0
clock = time.perf_counter


class Reply(NamedTuple):
    """What came back; `status` 0 and the `error`'s name where no whole answer did. `finished` is perf_counter."""

    status: int
    body: bytes
    retry_after: bool
    finished: float
    error: str = ""


@dataclass(frozen=True)
class Server:
    """Where to connect to; `tls` None speaks plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str, tls: ssl.SSLContext | None = None) -> Server:
        """From http://host:port or https://host:port; raises `InputError` for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise InputError(f"{url} is no server; give http://HOST:PORT or https://HOST:PORT")
        if parts.scheme == "https":
            tls = tls or ssl.create_default_context()
        return cls(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), tls)

    def request(
        self, method: str, path: str, content_type: str, body: bytes, headers: Iterable[tuple[str, str]]
    ) -> bytes:
        """The bytes of one request."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        if body or method == "POST":
            lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Connection:
    """Connects when first asked, and again whenever the last one is gone, unfit or too long idle."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._wire: _Wire | None = None

    async def connect(self) -> None:
        """Be connected before the clock runs; a failure shows at the first request instead."""
        await self._open(clock() + IDLE_SECONDS)

    async def ask(self, content: bytes, deadline: float) -> Reply:
        """Send prepared bytes and wait for the whole answer, until `deadline` (perf_counter) at most."""
        wire = self._wire
        if wire is None or not wire.usable(clock()):
            self.close()
            if isinstance(failure := await self._open(deadline), str):
                return Reply(0, b"", False, clock(), failure)
            wire = failure
        reply = await wire.ask(content, deadline)
        if not wire.usable(reply.finished):
            self.close()
        return reply

    async def _open(self, deadline: float) -> _Wire | str:
        server, loop = self._server, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline - clock()):
                _, self._wire = await loop.create_connection(_Wire, server.host, server.port, ssl=server.tls)
        except TimeoutError:
            return "timeout"
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return type(error).__name__
        return self._wire

    def close(self) -> None:
        """Let go of the connection at once."""
        if self._wire is not None:
            self._wire.abort()
            self._wire = None


class _Wire(asyncio.Protocol):
    """The callbacks of asyncio and of httptools for one connection."""

    def __init__(self) -> None:
        self._httptools = require("httptools", extra="serve")
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser: Any = None
        self._pieces: list[bytes] = []
        self._retry_after = self._sized = self._headed = False
        self._reusable = True
        self._last = clock()

    def usable(self, now: float) -> bool:
        return self._reusable and now - self._last < IDLE_SECONDS

    async def ask(self, content: bytes, deadline: float) -> Reply:
        self._waiter = self._loop.create_future()
        self._timer = self._loop.call_later(max(0.0, deadline - clock()), self._fail, "timeout")
        self._begin()
        self._transport.write(content)
        return await self._waiter

    def abort(self) -> None:
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _begin(self) -> None:
        self._parser = self._httptools.HttpResponseParser(self)
        self._pieces = []
        self._retry_after = self._sized = self._headed = False

    def _end(self, reply: Reply) -> None:
        self._last = reply.finished
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reply)
        self._waiter = None

    def _fail(self, error: str) -> None:
        self._reusable = False
        self._end(Reply(0, b"", False, clock(), error))

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:  # nobody asked: whatever this is, it answers nothing
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except self._httptools.HttpParserError:
            self._fail("not_http")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._reusable = False
        if self._waiter is None:
            return
        if self._headed and not self._sized and error is None:
            self.on_message_complete()  # an answer without a length ends with its connection
        else:
            self._fail("reset" if error is not None else "closed")

    # the parser's side

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self._retry_after = True
        elif name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._waiter is None:
            return
        now = clock()
        self._reusable = self._reusable and self._parser.should_keep_alive()
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._end(Reply(self._parser.get_status_code(), body, self._retry_after, now))
