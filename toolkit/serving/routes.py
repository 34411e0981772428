"""Which path does what: the table of one model, exact paths only, made when the model is opened.

`Handler` splits a request in three, so that the application can refuse before it takes a slot and
compute off the event loop: `query` and `parse` check, `answer` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from toolkit.serving import protocol
from toolkit.serving.bodies import FORM, JSON, PICTURES, Body, parse_form, parse_json, unsupported
from toolkit.serving.description import describe
from toolkit.serving.problems import Problem, fault, not_ready
from toolkit.serving.served import Served

Reply = Mapping[str, Any]
LIVE, READY = "live", "ready"
HEALTH = (LIVE, READY)


@dataclass(frozen=True)
class Handler:
    """What a POST does; `answer` runs in the pool and gets what `parse` and `query` returned."""

    parse: Callable[[Body], Any]
    answer: Callable[[Any, Any], Reply]
    query: Callable[[bytes], Any]


@dataclass(frozen=True)
class Route:
    """One path: its label in the metrics, and what GET and POST do there."""

    label: str
    get: Callable[[], Reply] | None = None
    post: Handler | None = None


def routes_of(served: Served | None) -> dict[str, Route]:
    """Path to route; without a model, health only."""
    live = Route(LIVE, get=lambda: {"live": True})
    ready = Route(READY, get=lambda: _ready(served))
    table = {"/healthz": live, "/livez": live, "/readyz": ready, "/v2/health/live": live, "/v2/health/ready": ready}
    if served is None:
        return table
    friendly = Handler(partial(_inputs, served), partial(_answer, served), partial(_top, served))
    word = "recommend" if served.spec.task == "recommend" else "classify"
    table[f"/v1/{word}"] = Route(word, post=friendly)
    table["/v1/model"] = Route("model", get=partial(describe, served))
    table["/v2"] = Route("metadata", get=protocol.server_metadata)
    for path in (f"/v2/models/{served.artifact.name}", f"/v2/models/{served.artifact.name}/versions/{served.version}"):
        table[path] = Route("metadata", get=partial(protocol.model_metadata, served))
        table[f"{path}/ready"] = Route(READY, get=lambda: {"name": served.artifact.name, "ready": True})
        table[f"{path}/infer"] = Route(
            "infer", post=Handler(parse_json, lambda request, _: protocol.infer(served, request), _no_query)
        )
    return table


def _ready(served: Served | None) -> Reply:
    if served is None:
        raise not_ready()
    return {"ready": True}


def _answer(served: Served, inputs: Any, top: int | None) -> Reply:
    return served.answer(inputs, top=top)


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
