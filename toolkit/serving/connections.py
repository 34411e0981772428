"""What one connection may cost: heads and answers in time and in bytes, no more connections than allowed.

uvicorn waits for ever for a head that trickles in and for a client that does not read, takes heads of any size,
and answers what is not HTTP in the middle of another answer. Here every connection carries two dates that one sweep
looks at twice a second, so a request costs two assignments more and no timer. And while the application is full, a
POST to a hot path is refused right here, and one with a wrong key always, without a task, a scope or an application:
refusing must cost less than answering, or overload ends in a standstill. The body is read and dropped, so that the
connection can go on. A request whose head was refused before is known by its bytes (`known_heads`), not even parsed.

Private to uvicorn 0.54 and httptools: the attributes and callbacks of `HttpToolsProtocol` that are used below;
tests/serving/test_serving_seam.py names them. Source: RFC 9112 (HTTP/1.1), RFC 6585 (431). Limit: connections that
do not finish a TLS handshake are not counted; they end after `header_seconds`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from toolkit.serving.bodies import LEFT, WHOLE
from toolkit.serving.problems import CLOSE, Problem, overloaded
from toolkit.serving.settings import Settings

SWEEP_SECONDS = 0.5
LAST_WORD_SECONDS = 0.25  # how long a connection without a request stays open when it is about to be closed
SMALL_BODY = 1 << 16  # a refused body that is worth reading to keep its connection
HOT_ENDINGS = (b"/classify", b"/recommend", b"/infer")
BODY_HEADERS = (b"content-length", b"transfer-encoding")
CONNECTION = "connection"  # the route in the metrics: no path is known yet, or none that could be trusted


class Front(Protocol):
    """What is asked of the application: its limits, whether it is full, who may ask it, who is told."""

    settings: Settings
    observe: Any
    keys: Any

    @property
    def full(self) -> bool: ...

    def announce(self) -> None: ...


class _Refused:
    """Stands where uvicorn keeps the request in hand: one that is answered, whatever of it is still to come."""

    response_complete = True
    message_event = asyncio.Event()


class _Unacceptable(Exception):  # noqa: N818 - never seen outside: httptools turns it into its own
    """Ends the parsing of a head that will not be served, whose problem it carries."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def whole_answer(problem: Problem, *, close: bool) -> bytes:
    """A problem as the bytes of an HTTP/1.1 response."""
    content = orjson.dumps(problem.to_json())
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(content))]
    headers += [*problem.headers, CLOSE] if close else problem.headers
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[problem.status] + lines + b"\r\n" + content


BUSY = overloaded()
OVERLOADED = whole_answer(BUSY, close=False)
TOO_MANY = whole_answer(
    Problem(503, "too_many_connections", "there are as many connections as are allowed; try again soon",
            headers=[(b"retry-after", b"1")]),
    close=True,
)  # fmt: skip
NOT_HTTP = Problem(400, "not_http", "this is not an HTTP/1.1 request that could be answered")
LARGE_HEAD = Problem(431, "large_head", "the head of the request is too large")
UPGRADE = Problem(400, "upgrade", "no other protocol is spoken here; send a body without Upgrade")
SLOW_HEAD = Problem(408, "slow_head", "the head of the request did not arrive in time")


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol within `Settings`; `config.front` is the application, `config.draining` a flag."""

    front: Front

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.front = config.front
        self._head_since: float | None = None  # set while a head is expected that must not take for ever
        self._unread_since: float | None = None  # set while the client has not taken its answer
        self._in_head = False
        self._head_bytes = 0  # of earlier pieces of a head that is not whole
        self._piece = 0
        self._ended = False  # nothing that comes now is looked at
        self._leaving = False
        self._between = True  # requests: the next byte begins one
        self._refused: tuple[int, str] | None = None  # the length and route of the last one refused for want of room

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._extensions: dict[str, Any] = {LEFT: transport.is_closing, WHOLE: self._is_between}
        self._head_since = self.loop.time()
        if len(self.connections) > self.front.settings.max_connections:
            self._end(TOO_MANY, "too_many_connections", 503)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._unset_keepalive_if_required()
        fresh = self._between and self._is_idle()
        # a server that has refused nobody is not asked once more whether it is full
        if fresh and self.config.known_heads and self.front.full and self._refuse_known(data):  # type: ignore[attr-defined]
            return
        if self._head_since is None and self._is_idle():
            self._head_since = self.loop.time()
        self._piece, self._refused = len(data), None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # no other protocol is spoken here: the request is answered as it is, and what follows is not read
            self._ended = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.problem if isinstance(cause, _Unacceptable) else NOT_HTTP)
        else:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > self.front.settings.max_header_bytes:
                    self._refuse(LARGE_HEAD)
            elif self._refused is not None and fresh and self._between:
                self.config.known_heads.learn(data, *self._refused)

    def _refuse_known(self, data: bytes) -> bool:
        """Refuse what was refused in the same words before; keys are checked each time, and the last answers closed."""
        if self.front.keys is not None or self.flow.write_paused or self._is_leaving():
            return False
        route = self.config.known_heads.recall(data)  # type: ignore[attr-defined]
        if route is None:
            return False
        self._write_refusal(BUSY, OVERLOADED, route)
        return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._between = True, False

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        most = self.front.settings.max_header_bytes
        if self._head_bytes + self._piece > most:
            if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > most:
                raise _Unacceptable(LARGE_HEAD)
            self._head_bytes = 0
        # httptools would take the body for words of the other protocol
        if self.parser.should_upgrade() and any(name in BODY_HEADERS for name, _ in self.headers):
            raise _Unacceptable(UPGRADE)
        self._head_since, self._in_head = None, False
        if (self.front.full or self.front.keys is not None) and self._can_refuse_here():
            refusal = self._refusal()
            if refusal is not None:
                self._refuse_here(*refusal)
                return
        self.front.announce()
        super().on_headers_complete()
        self.scope["extensions"] = self._extensions
        if self._is_leaving():
            self.cycle.keep_alive = False

    def _can_refuse_here(self) -> bool:
        """A plain POST to a hot path, with a small body, on a connection where it is next to be answered."""
        if self.parser.get_method() != b"POST" or not self.url.partition(b"?")[0].endswith(HOT_ENDINGS):
            return False
        if not self._is_idle() or self.flow.write_paused or self.expect_100_continue or self._is_leaving():
            return False
        length = dict(self.headers).get(b"content-length", b"")
        if not (length.isdigit() and int(length) <= SMALL_BODY):
            return False
        parser = self.parser
        return parser.get_http_version() == "1.1" and parser.should_keep_alive() and not parser.should_upgrade()

    def _refusal(self) -> tuple[Problem, bytes] | None:
        """Why the request in hand is turned away, and its answer; the key comes first, as in the application."""
        if self.front.keys is not None:
            try:
                self.front.keys.check(dict(self.headers))
            except Problem as problem:
                return problem, whole_answer(problem, close=False)
        return (BUSY, OVERLOADED) if self.front.full else None

    def _refuse_here(self, problem: Problem, answer: bytes) -> None:
        self.cycle = _Refused()  # type: ignore[assignment]
        path = self.url.partition(b"?")[0]
        route = next(ending for ending in HOT_ENDINGS if path.endswith(ending))[1:].decode()
        if problem is BUSY:
            self._refused = int(dict(self.headers)[b"content-length"]), route
        self._write_refusal(problem, answer, route)

    def _write_refusal(self, problem: Problem, answer: bytes, route: str) -> None:
        self.transport.write(answer)
        self.server_state.total_requests += 1
        # the rest of the body, and the next head, have as long as a head has
        self._head_since = self.loop.time()
        self.front.observe(route, problem.status, problem.code, 0.0)

    def sweep(self, now: float) -> None:
        """End what has taken too long at `now`, in the loop's time; called every SWEEP_SECONDS."""
        limits = self.front.settings
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > limits.send_seconds - SWEEP_SECONDS:
            self.transport.abort()
            return
        if self._head_since is not None and now - self._head_since > limits.header_seconds - SWEEP_SECONDS:
            self._head_since = None
            if self._in_head:
                self._refuse(SLOW_HEAD)
            else:
                self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        # after a pause of the whole process timers come before what clients have sent meanwhile: look once more
        self.loop.call_later(LAST_WORD_SECONDS, self._end_kept, self.timeout_keep_alive_task)

    def _end_kept(self, timer: object) -> None:
        if self.timeout_keep_alive_task is timer:
            self._close_if_idle()

    def shutdown(self) -> None:
        """Answer what is here or on its way, with Connection: close, and close the rest."""
        self._leaving = True
        if self._is_idle():
            self.loop.call_later(LAST_WORD_SECONDS, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _is_leaving(self) -> bool:
        return self._leaving or self.config.draining  # type: ignore[attr-defined]

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _is_between(self) -> bool:
        return self._between

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """Answer what cannot be read and close, unless an earlier request is still owed its answer."""
        if self._is_idle() or (self.cycle.more_body and not self.cycle.response_started and not self.pipeline):
            self._end(whole_answer(problem, close=True), problem.code, problem.status)
            return
        self._ended = True
        if self.cycle.more_body:
            self.transport.close()
        else:
            self.cycle.keep_alive = False
        self.front.observe(CONNECTION, problem.status, problem.code, 0.0)

    def _end(self, answer: bytes, code: str, status: int) -> None:
        self._ended = True
        self._head_since = None
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
            self.front.observe(CONNECTION, status, code, 0.0)
