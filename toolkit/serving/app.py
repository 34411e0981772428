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
from functools import partial
from typing import Any, Protocol

import orjson

from toolkit.serving.admission import Admission
from toolkit.serving.bodies import Body, ClientLeft, Receive, read_body
from toolkit.serving.problems import Problem, internal, not_ready
from toolkit.serving.routes import HEALTH, Handler, Route, routes_of
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LOG = logging.getLogger("bentoml.toolkit")

JSON_TYPE = (b"content-type", b"application/json")
PROBLEM_TYPE = (b"content-type", b"application/problem+json")
SMALL_BODY = 1 << 18  # parsed on the loop in well under a millisecond; larger ones take a slot for it
NOBODY = 499  # for the metrics only: the client left before it could be answered


class Fallback(Protocol):
    """An application behind this one; `takes` says whether it has anything at a path."""

    def takes(self, scope: Scope) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


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
    """Not ready until `open` gives it a model; `close` stops admission and waits for what runs."""

    def __init__(
        self, *, settings: Settings | None = None, fallback: Fallback | None = None, observe: Observe = unobserved
    ) -> None:
        self.settings = settings or Settings()
        self.fallback, self.observe = fallback, observe
        self._served: Served | None = None
        self._table: Mapping[str, Route] = routes_of(None)
        self._admission: Admission | None = None

    @property
    def ready(self) -> bool:
        """True while there is a model to answer with."""
        return self._served is not None

    def open(self, served: Served) -> None:
        """Answer with `served` from now on."""
        self.settings = served.settings
        if self._admission is None:
            self._admission = Admission(
                concurrency=served.settings.concurrency,
                queue=served.settings.queue,
                timeout_seconds=served.settings.timeout_seconds,
            )
        self._served, self._table = served, routes_of(served)

    def close(self) -> None:
        """Not ready any more; waits until the work in hand is done, then frees the model."""
        served, self._served, self._table = self._served, None, routes_of(None)
        if self._admission is not None:
            self._admission.close()
            self._admission = None
        if served is not None:
            served.predictor.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        path = scope["path"]
        route = self._table.get(path) if scope["type"] == "http" else None
        # without a model its own paths must not reach whatever else would answer them
        ours = not self.ready and path.startswith(("/v1/", "/v2"))
        if route is None and not ours and self.fallback is not None and self.fallback.takes(scope):
            await self.fallback(scope, receive, send)
            return
        if scope["type"] == "http":
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
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.content))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.content
        await send({"type": "http.response.body", "body": body})
        self.observe(label, answer.status, answer.code, time.perf_counter() - started)

    async def _answer(self, route: Route | None, scope: Scope, receive: Receive) -> _Answer:
        if self._served is None and (route is None or route.label not in HEALTH):
            raise not_ready()
        if route is None:
            raise Problem(404, "not_found", "there is nothing here")
        method = scope["method"]
        if method in ("GET", "HEAD") and route.get is not None:
            return _Answer(200, orjson.dumps(route.get()), [JSON_TYPE])
        if method != "POST" or route.post is None:
            allowed = "GET, HEAD" if route.get is not None else "POST"
            raise Problem(405, "method", f"allowed here: {allowed}", headers=[(b"allow", allowed.encode())])
        return await self._compute(route.post, scope, receive)

    async def _compute(self, handler: Handler, scope: Scope, receive: Receive) -> _Answer:
        if self._admission is None:
            raise not_ready()
        query = handler.query(scope["query_string"])
        body = await read_body(dict(scope["headers"]), receive, self.settings)
        if len(body.content) <= SMALL_BODY:
            work = partial(_respond, handler, handler.parse(body), query)
        else:
            work = partial(_parse_and_respond, handler, body, query)
        return _Answer(200, await self._admission.run(work), [JSON_TYPE])


def _respond(handler: Handler, request: Any, query: Any) -> bytes:
    return orjson.dumps(handler.answer(request, query))


def _parse_and_respond(handler: Handler, body: Body, query: Any) -> bytes:
    return _respond(handler, handler.parse(body), query)


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
