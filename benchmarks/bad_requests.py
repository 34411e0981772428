"""Requests generated from the OpenAPI document, good and bad, and what the application answers to them.

::

    python -m benchmarks.bad_requests runs/try/pruned-int8 OTHER ... --cases 2000

Schemathesis makes the cases; they go over ASGI into the application, with no socket between. Each
answer must come in time, have a status and a body that the document allows, be a problem document
unless it is a 200, be no 5xx (503 `not_ready` apart), and repeat no value of the request. A case
that is good by the document must get its 200, except where no schema can say what is good.

The same seed gives the same cases. Limit: what the document does not describe is not generated;
framing, paths and headers are in tests/serving/test_serving_bad_input.py.
Source: schemathesis (schemathesis.readthedocs.io), Hatfield-Dodds and Dygalo 2022 (arXiv:2112.10328).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import hypothesis
import jsonschema_rs
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, strategies
from PIL import Image
from schemathesis import GenerationMode

from toolkit.serving.app import App
from toolkit.serving.loading import load_served
from toolkit.serving.openapi import document
from toolkit.serving.settings import Settings

Application = Callable[..., Awaitable[None]]
Send = Callable[[Any, GenerationMode], None]
CANARY = "canary-b1f4c9"
HANG_SECONDS = 10.0
MAX_ROWS = 3  # of the server that is asked: longer lists take long to generate and find nothing else
# of hundred cases; an operation without a body has little to get wrong
WEIGHTS = {"classify": 55, "recommend": 55, "infer": 20}
FEW = 1


@dataclass
class Outcome:
    """What came back: cases by kind and status, and what was wrong, in words without values."""

    cases: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Requests that were sent."""
        return self.cases.total()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"total": self.total, "cases": dict(sorted(self.cases.items())), "faults": dict(self.faults)}


@dataclass(frozen=True)
class _Reply:
    status: int
    content_type: str
    body: bytes


def check_generated(application: Application, contract: dict[str, Any], *, cases: int, seed: int = 0) -> Outcome:
    """Send about `cases` requests generated from `contract` to an ASGI application that has its model."""
    _know_pictures()
    schema = schemathesis.openapi.from_dict(contract)
    outcome, validators = Outcome(), _Validators(contract)
    found: Any = schema.get_all_operations()  # results, of which none can be an error: the document is checked
    operations = [result.ok() for result in found]
    shares = {op.label: WEIGHTS.get(_name(op).removesuffix("_version"), FEW) for op in operations}
    whole = sum(shares.values())
    with asyncio.Runner() as runner:

        def send(case: Any, mode: GenerationMode) -> None:
            runner.run(_try(application, case, mode, validators, outcome))

        for operation in operations:
            count = max(2, round(cases * shares[operation.label] / whole))
            bad = count * 2 // 3 if operation.body or operation.query else 0
            for mode, number in ((GenerationMode.NEGATIVE, bad), (GenerationMode.POSITIVE, count - bad)):
                if number:
                    _generate(operation, mode, number, seed, send)
        # a strategy with few examples ends early; the operation that takes most makes up for it
        richest = max(operations, key=lambda operation: shares[operation.label])
        while outcome.total < cases:
            seed += 1
            _generate(richest, GenerationMode.NEGATIVE, cases - outcome.total, seed, send)
    return outcome


def _generate(operation: Any, mode: GenerationMode, number: int, seed: int, send: Send) -> None:
    strategy = operation.as_strategy(generation_mode=mode)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=number, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis.given(strategy)
    def sent(case: Any) -> None:
        send(case, mode)

    sent()


async def _try(
    application: Application, case: Any, mode: GenerationMode, validators: _Validators, outcome: Outcome
) -> None:
    operation, kind = case.operation, mode.value
    if kind == "negative" and outcome.total % 2:
        case.body = _marked(case.body, case.media_type)
    request = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
    request.headers["x-note"] = CANARY
    try:
        reply = await asyncio.wait_for(_send(application, request), HANG_SECONDS)
    except TimeoutError:
        outcome.faults[f"{operation.label}: no answer"] += 1
        return
    except Exception as error:
        outcome.faults[f"{operation.label}: raised {type(error).__name__}"] += 1
        return
    outcome.cases[f"{kind} {reply.status}"] += 1
    for words in _faults_of(reply, operation, validators):
        outcome.faults[f"{operation.label} {reply.status}: {words}"] += 1
    if kind == "positive" and reply.status != 200 and not _name(operation).startswith("infer"):
        outcome.faults[f"{operation.label} {reply.status}: refused what the document allows"] += 1


def _faults_of(reply: _Reply, operation: Any, validators: _Validators) -> list[str]:
    found: list[str] = []
    try:
        document = json.loads(reply.body)
    except ValueError:
        return ["not JSON"]
    if reply.status >= 500 and not (reply.status == 503 and document.get("code") == "not_ready"):
        found.append("a server error")
    if reply.status != 200 and CANARY.encode() in reply.body:
        found.append("repeats the request")
    expected = "application/json" if reply.status == 200 else "application/problem+json"
    if reply.content_type != expected:
        found.append("another content type")
    if (problem := validators.check(operation, reply.status, expected, document)) is not None:
        found.append(problem)
    return found


class _Validators:
    """One a status of an operation, made when first asked for."""

    def __init__(self, contract: dict[str, Any]) -> None:
        self._contract = contract
        self._made: dict[tuple[str, str, int], Any] = {}

    def check(self, operation: Any, status: int, content_type: str, document: Any) -> str | None:
        """None when the document allows it, else what is wrong with it."""
        key = (operation.path, operation.method.lower(), status)
        if key not in self._made:
            self._made[key] = self._make(*key, content_type)
        validator = self._made[key]
        if validator is None:
            return "a status that is not documented"
        error = next(iter(validator.iter_errors(document)), None)
        return None if error is None else f"does not fit its schema at {error.schema_path}"

    def _make(self, path: str, method: str, status: int, content_type: str) -> Any:
        found = self._contract["paths"][path][method]["responses"].get(str(status))
        if found is not None and "$ref" in found:
            found = self._contract["components"]["responses"][found["$ref"].rpartition("/")[2]]
        if found is None or content_type not in found["content"]:
            return None
        schema = {**found["content"][content_type]["schema"], "components": self._contract["components"]}
        return jsonschema_rs.Draft202012Validator(schema)


async def _send(application: Application, request: requests.PreparedRequest) -> _Reply:
    """The request over ASGI, as a server would hand it on."""
    url = urlsplit(request.url or "")
    body: Any = request.body or b""
    content = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else bytes(body)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": request.method, "path": unquote(url.path), "raw_path": url.path.encode(),
        "query_string": url.query.encode(), "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        "headers": [(k.lower().encode("latin-1"), _bytes(v)) for k, v in request.headers.items()],
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": content, "more_body": False}]
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    await application(scope, receive, send)
    headers = dict(messages[0]["headers"])
    pieces = b"".join(message.get("body", b"") for message in messages[1:])
    return _Reply(messages[0]["status"], headers.get(b"content-type", b"").decode(), pieces)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def _name(operation: Any) -> str:
    return str(operation.definition.raw["operationId"])


def _marked(body: Any, media_type: str | None) -> Any:
    """`body` with the canary in each of its texts and names that mean nothing to the contract."""
    if media_type != "application/json":
        return body
    if isinstance(body, str):
        return CANARY + body
    if isinstance(body, list):
        return [_marked(part, media_type) for part in body]
    if isinstance(body, dict):
        known = ("inputs", "name", "datatype", "shape", "data")
        return {name if name in known else CANARY + name: _marked(part, media_type) for name, part in body.items()}
    return body


def _know_pictures() -> None:
    """No schema says what a picture is, so good ones are drawn from a few real ones."""
    pictures = []
    for kind, size in (("PNG", (8, 8)), ("JPEG", (31, 5)), ("PNG", (1, 1)), ("BMP", (64, 48)), ("WEBP", (16, 16))):
        buffer = io.BytesIO()
        Image.new("L", size, len(kind) * 30).save(buffer, format=kind)
        pictures.append(buffer.getvalue())
    coded = [base64.b64encode(content).decode() for content in pictures]
    schemathesis.openapi.format("byte", strategies.sampled_from(coded))
    schemathesis.openapi.format("binary", strategies.sampled_from(pictures))
    for kind in ("png", "jpeg", "webp", "bmp", "tiff"):
        schemathesis.openapi.media_type(f"image/{kind}", strategies.sampled_from(pictures))


def main() -> None:
    """Share the cases among the artifacts, print the outcome of each; exit 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--cases", type=int, default=2000, help="requests in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = Settings(max_rows=MAX_ROWS)
    share = -(-options.cases // len(options.artifacts))
    wrong = False
    for folder in options.artifacts:
        app = App(settings=settings)
        served = load_served(folder, settings=settings)
        app.open(served)
        outcome = check_generated(app, document(served), cases=share, seed=options.seed)
        app.close()
        wrong = wrong or bool(outcome.faults)
        print(json.dumps({"artifact": folder, "task": served.spec.task, **outcome.to_json()}))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
