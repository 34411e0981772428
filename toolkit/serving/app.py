"""The HTTP application: an exact table of paths, answers as bytes, problems as documents.

Plain ASGI, since a framework's routing, validation and middleware would cost more than most models
here take. The event loop reads and sends bytes; whatever computes runs in `Admission`'s pool. Paths
that are not in the table go to `fallback` (BentoML's own application) if it knows them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from toolkit.serving.admission import Admission
from toolkit.serving.bodies import LEFT, WHOLE, ClientLeft, Receive, read_body
from toolkit.serving.problems import CLOSE, Problem, internal, not_ready
from toolkit.serving.routes import HEALTH, LIVE, OPEN, Handler, Route, Static, routes_of
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LOG = logging.getLogger("bentoml.toolkit")

JSON_TYPE = (b"content-type", b"application/json")
PROBLEM_TYPE = (b"content-type", b"application/problem+json")
NOBODY = 499  # for the metrics only: the client left before it could be answered


class Fallback(Protocol):
    """An application behind this one; `takes` says whether it has anything at a path."""

    def takes(self, scope: Scope) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Keys(Protocol):
    """Who may ask; raises `Problem` 401."""

    def check(self, headers: Mapping[bytes, bytes]) -> None: ...


class Shadow(Protocol):
    """A second model that is shown what the first one answered; returns at once and never raises."""

    def offer(self, examples: list[Any], predictions: list[dict[str, Any]]) -> None: ...


class Observe(Protocol):
    """Told after each request: the route's label, the status, the problem's code or "", the seconds."""

    def __call__(self, route: str, status: int, code: str, seconds: float) -> None: ...


def unobserved(route: str, status: int, code: str, seconds: float) -> None:
    """The listener that does nothing."""


@dataclass(frozen=True)
class _Answer:
    status: int
    content: bytes
    headers: Sequence[tuple[bytes, bytes]]
    code: str = ""


class App:
    """Not ready until `open` gives it a model; `close` stops admission and waits for what runs.

    `keys` is asked before a body is read or a slot taken, on every path but health and the page. `shadow` is
    told of every friendly answer.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        fallback: Fallback | None = None,
        observe: Observe = unobserved,
        keys: Keys | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.fallback, self.observe, self.keys = fallback, observe, keys
        self.shadow: Shadow | None = None
        self._served: Served | None = None
        self._table: Mapping[str, Route] = routes_of(None)
        self._admission: Admission | None = None
        self._draining = False
        self.endings: list[Callable[[], None]] = []  # called once, before it closes

    @property
    def served(self) -> Served | None:
        """The model that answers now."""
        return self._served

    @property
    def ready(self) -> bool:
        """True while there is a model to answer with, and the server means to stay."""
        return self._served is not None and not self._draining

    @property
    def full(self) -> bool:
        """True when a request for the model would be refused."""
        return self._served is not None and self._admission is not None and self._admission.full(self._served)

    def announce(self) -> None:
        """A request has been let in by its connection."""
        if self._admission is not None:
            self._admission.announce()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return 0 if self._admission is None else self._admission.waiting

    @property
    def running(self) -> int:
        """Requests in runs."""
        return 0 if self._admission is None else self._admission.running

    def open(self, served: Served) -> None:
        """Answer with `served` from now on; requests in hand end on the model that they began with."""
        self.settings = served.settings
        if self._admission is None:
            self._admission = Admission(served.settings)
        self._served, self._table = served, routes_of(served, secured=self.keys is not None, offer=self._offer)

    def drain(self) -> None:
        """Say that it is not ready, ask every client to close its connection, and go on answering."""
        self._draining = True

    def close(self) -> None:
        """Not ready any more; waits until the work in hand is done, then frees the model."""
        while self.endings:
            self.endings.pop()()
        served, self._served, self._table = self._served, None, routes_of(None)
        if self._admission is not None:
            self._admission.close()
            self._admission = None
        if served is not None:
            served.predictor.close()

    def _offer(self, examples: list[Any], predictions: list[dict[str, Any]]) -> None:
        if (shadow := self.shadow) is not None:
            shadow.offer(examples, predictions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        path = scope["path"]
        route = self._table.get(path) if scope["type"] == "http" else None
        # without a model its own paths must not reach whatever else would answer them
        ours = self._served is None and path.startswith(("/v1/", "/v2"))
        if route is None and not ours and self.fallback is not None and self.fallback.takes(scope):
            await self._pass_on(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(route, scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self.fallback is not None:
                await self.fallback(scope, receive, send)
                return
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
        finally:
            self.close()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.fallback is not None
        if self.keys is not None and scope["type"] == "http":
            try:
                self.keys.check(dict(scope["headers"]))
            except Problem as problem:
                await self._send(_document(problem), scope, send)
                return
        await self.fallback(scope, receive, send)

    async def _serve(self, route: Route | None, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        label = route.label if route is not None else "other"
        try:
            answer = await self._answer(route, scope, receive)
        except ClientLeft:
            self.observe(label, NOBODY, "client_left", time.perf_counter() - started)
            return
        except Problem as problem:
            answer = _document(problem)
        except Exception as error:
            LOG.error("%s on %s", _whereabouts(error), label)
            answer = _document(internal())
        await self._send(answer, scope, send)
        self.observe(label, answer.status, answer.code, time.perf_counter() - started)

    async def _send(self, answer: _Answer, scope: Scope, send: Send) -> None:
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.content))]
        if self._draining and CLOSE not in headers:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.content
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, route: Route | None, scope: Scope, receive: Receive) -> _Answer:
        if route is None or route.label not in OPEN:
            if self.keys is not None:
                self.keys.check(dict(scope["headers"]))
            if self._served is None:
                raise not_ready()
        elif route.label in HEALTH and route.label != LIVE and not self.ready:
            raise not_ready()
        if route is None:
            raise Problem(404, "not_found", "there is nothing here")
        method = scope["method"]
        if method in ("GET", "HEAD") and route.get is not None:
            reply = route.get()
            if isinstance(reply, Static):
                return _Answer(200, reply.content, reply.headers)
            return _Answer(200, orjson.dumps(reply), [JSON_TYPE])
        if method != "POST" or route.post is None:
            allowed = "GET, HEAD" if route.get is not None else "POST"
            raise Problem(405, "method", f"allowed here: {allowed}", headers=[(b"allow", allowed.encode())])
        return await self._compute(route.post, scope, receive)

    async def _compute(self, handler: Handler, scope: Scope, receive: Receive) -> _Answer:
        admission = self._admission
        if admission is None:
            raise not_ready()
        query = handler.query(scope["query_string"])
        known = scope.get("extensions", {})
        whole = known[WHOLE]() if WHOLE in known else False
        body = await read_body(dict(scope["headers"]), receive, self.settings, whole=whole)
        return _Answer(200, await admission.run(handler.job(body, query), known.get(LEFT)), [JSON_TYPE])


def _document(problem: Problem) -> _Answer:
    content = orjson.dumps(problem.to_json())
    return _Answer(problem.status, content, [PROBLEM_TYPE, *problem.headers], problem.code)


def _whereabouts(error: BaseException) -> str:
    """Type, file and line, without the message: it could hold a value of the request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown place"
    return f"{type(error).__name__} at {place}"
