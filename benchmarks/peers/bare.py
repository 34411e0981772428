"""The floor: one ASGI function on uvicorn, uvloop, httptools and orjson, the predictor called inline.

No routing, no limits, no batching, nothing checked. EMPTY=1 answers a constant instead, without any
model: what HTTP and the load generator cost alone.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import uvicorn

from toolkit.predictor import Predictor

Message = MutableMapping[str, Any]
HEADERS = [(b"content-type", b"application/json")]
PREDICTOR = None if os.environ.get("EMPTY") else Predictor.load(os.environ["ARTIFACT"])


def answer(content: bytes) -> bytes:
    """Label and score of each input."""
    if PREDICTOR is None:
        return b'{"predictions":[{"label":"none","score":1.0}]}'
    found = PREDICTOR(orjson.loads(content)["inputs"])
    return orjson.dumps({"predictions": [{"label": one.label, "score": one.score} for one in found]})


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Every path is the one path."""
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = answer(b"".join(pieces))
    headers = [*HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        application, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools",
        lifespan="off", access_log=False, log_level="warning",
    )  # fmt: skip
