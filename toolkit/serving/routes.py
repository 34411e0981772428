"""Which path does what: the table of one model, exact paths only, made when the model is opened.

`Handler` splits a request in two, so that the application can refuse before anything is queued and compute off
the event loop: `query` and the making of the job check, the job computes. A large body is parsed in the job too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import orjson

from toolkit.runners.cancel import Cancel
from toolkit.serving import openapi, page, protocol
from toolkit.serving.bodies import FORM, JSON, PICTURES, Body, parse_form, parse_json, unsupported
from toolkit.serving.description import describe
from toolkit.serving.jobs import Job
from toolkit.serving.problems import Problem, fault, not_ready
from toolkit.serving.served import Served
from toolkit.spec import Array

Reply = Mapping[str, Any]
Offer = Callable[[list[Any], list[dict[str, Any]]], None]
SMALL_BODY = 1 << 18  # parsed on the loop in well under a millisecond; larger ones are parsed in their job
LIVE, READY, PAGE = "live", "ready", "page"
HEALTH = (LIVE, READY)
# answered without a model and without a key: the page holds nothing of either
OPEN = (*HEALTH, PAGE)


@dataclass(frozen=True)
class Handler:
    """What a POST does; `job` gets the body and what `query` returned; both raise `Problem`."""

    query: Callable[[bytes], Any]
    job: Callable[[Body, Any], Job]


@dataclass(frozen=True)
class Static:
    """Bytes that are answered as they are, with headers of their own."""

    content: bytes
    headers: Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Route:
    """One path: its label in the metrics, and what GET and POST do there."""

    label: str
    get: Callable[[], Reply | Static] | None = None
    post: Handler | None = None


def unoffered(examples: list[Any], predictions: list[dict[str, Any]]) -> None:
    """The shadow that is not there."""


def routes_of(served: Served | None, *, secured: bool = False, offer: Offer = unoffered) -> dict[str, Route]:
    """Path to route; without a model, health and the page only. `secured` says that keys are asked for.

    `offer` is told of every friendly answer, for a shadow.
    """
    live = Route(LIVE, get=lambda: {"live": True})
    ready = Route(READY, get=lambda: _ready(served))
    table = {"/healthz": live, "/livez": live, "/readyz": ready, "/v2/health/live": live, "/v2/health/ready": ready}
    table["/"] = Route(PAGE, get=lambda: Static(page.PAGE, page.HEADERS))
    if served is None:
        return table
    friendly = Handler(partial(_top, served), partial(_friendly_job, served, offer))
    word = "recommend" if served.spec.task == "recommend" else "classify"
    table[f"/v1/{word}"] = Route(word, post=friendly)
    table["/v1/model"] = Route("model", get=partial(describe, served))
    contract = openapi.document(served, secured=secured)
    table["/openapi.json"] = Route("contract", get=lambda: contract)
    table["/v2"] = Route("metadata", get=protocol.server_metadata)
    for path in (f"/v2/models/{served.artifact.name}", f"/v2/models/{served.artifact.name}/versions/{served.version}"):
        table[path] = Route("metadata", get=partial(protocol.model_metadata, served))
        table[f"{path}/ready"] = Route(READY, get=lambda: {"name": served.artifact.name, "ready": True})
        table[f"{path}/infer"] = Route("infer", post=Handler(_no_query, partial(_infer_job, served)))
    return table


def _ready(served: Served | None) -> Reply:
    if served is None:
        raise not_ready()
    return {"ready": True}


def _friendly_job(served: Served, offer: Offer, body: Body, top: int | None) -> Job:
    def finish(examples: list[Any], logits: Array) -> bytes:
        reply = served.reply(logits, top=top)
        offer(examples, reply["predictions"])
        return orjson.dumps(reply)

    def alone(examples: list[Any], cancel: Cancel) -> bytes:
        return finish(examples, served.logits(examples, cancel))

    if len(body.content) > SMALL_BODY:
        return Job(served, lambda cancel: alone(served.examples(_inputs(served, body)), cancel))
    examples = served.examples(_inputs(served, body))
    size = max(map(served.predictor.encoder.size, examples))
    return Job(served, partial(alone, examples), examples, partial(finish, examples), len(examples), size)


def _infer_job(served: Served, body: Body, _: None) -> Job:
    if len(body.content) > SMALL_BODY:
        return Job(served, lambda cancel: orjson.dumps(protocol.infer(served, parse_json(body), cancel)))
    request = parse_json(body)
    rows = min(protocol.rows_of(request), served.settings.max_rows)
    return Job(served, lambda cancel: orjson.dumps(protocol.infer(served, request, cancel)), rows=rows)


def _inputs(served: Served, body: Body) -> Any:
    """The inputs of a friendly request, whichever way they came."""
    if served.spec.task == "image":
        if body.kind in PICTURES:
            return [body.content]
        if body.kind == FORM:
            return parse_form(body, max_parts=served.settings.max_rows)
        if body.kind != JSON:
            raise unsupported(JSON, FORM, *PICTURES)
    request = parse_json(body)
    if set(request) != {"inputs"}:
        raise fault("/inputs", "missing", "an object with the one member inputs is expected")
    return request["inputs"]


def _top(served: Served, query: bytes) -> int | None:
    """`?top=k`, the only parameter there is; raises `Problem` 422 for any other."""
    if not query:
        return None
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=1)
    except ValueError:
        pairs = []
    highest = served.settings.max_rows if served.spec.task == "recommend" else len(served.spec.labels)
    if len(pairs) != 1 or pairs[0][0] != "top":
        raise Problem(422, "unknown_parameter", "the only parameter is top")
    text = pairs[0][1]
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 9 and 1 <= int(text) <= highest):
        raise Problem(422, "top", f"top takes a whole number from 1 to {highest}")
    return int(text)


def _no_query(query: bytes) -> None:
    if query:
        raise Problem(422, "unknown_parameter", "no parameters are taken here")
