"""Requests generated from the OpenAPI document, and three servers that the same harness must catch.

A thousand here, since generating them takes all the time; two thousand more by benchmarks.bad_requests.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from serving.conftest import Client

from benchmarks.bad_requests import CANARY, MAX_ROWS, Outcome, check_generated
from toolkit.serving.app import App
from toolkit.serving.bodies import Receive
from toolkit.serving.openapi import document

Open = Callable[..., Client]
SHARES = {"text": 300, "image": 450, "recommend": 250}
SEED = 4


def outcome_of(app: App, application: Callable[..., Awaitable[None]], cases: int) -> Outcome:
    assert app.served is not None
    return check_generated(application, document(app.served), cases=cases, seed=SEED)


@pytest.mark.parametrize("task", SHARES)
def test_generated_requests_get_answers_and_problem_documents(open_app: Open, task: str) -> None:
    app = open_app(task, max_rows=MAX_ROWS).app
    outcome = outcome_of(app, app, SHARES[task])
    assert outcome.faults == {}
    assert outcome.total >= SHARES[task]
    assert outcome.cases["positive 200"] > 20
    assert outcome.cases["negative 422"] > 100
    assert outcome.cases["negative 400"] > 5


def answering(app: App, change: Callable[[int, bytes, bytes], tuple[int, bytes]]) -> Callable[..., Awaitable[None]]:
    """The application with its answers changed: (status, body, request) to (status, body)."""

    async def sabotaged(scope: Any, receive: Receive, send: Callable[[Any], Awaitable[None]]) -> None:
        request: list[bytes] = []
        start: dict[str, Any] = {}

        async def heard() -> Any:
            message = await receive()
            request.append(message.get("body", b""))
            return message

        async def said(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            status, body = change(start["status"], message["body"], b"".join(request))
            await send({**start, "status": status})
            await send({**message, "body": body})

        await app(scope, heard, said)

    return sabotaged


def fails_on_bad_input(status: int, body: bytes, request: bytes) -> tuple[int, bytes]:
    return (500, body) if status == 422 else (status, body)


def quotes_the_request(status: int, body: bytes, request: bytes) -> tuple[int, bytes]:
    if status == 200:
        return status, body
    return status, json.dumps(json.loads(body) | {"detail": request.decode("latin-1")}).encode()


def takes_everything_for_bad(status: int, body: bytes, request: bytes) -> tuple[int, bytes]:
    return (418, body) if status == 200 else (status, body)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (fails_on_bad_input, "a server error"),
        (quotes_the_request, "repeats the request"),
        (takes_everything_for_bad, "a status that is not documented"),
    ],
)
def test_a_sabotaged_server_is_caught(open_app: Open, change: Any, fault: str) -> None:
    app = open_app("recommend", max_rows=MAX_ROWS).app
    outcome = outcome_of(app, answering(app, change), 60)
    assert any(fault in words for words in outcome.faults), outcome.faults
    assert CANARY not in json.dumps(outcome.to_json())
