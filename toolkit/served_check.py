"""Package an artifact, start the bento, ask it real rows over HTTP, and compare with the process's own answers."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from toolkit.artifact import Artifact
from toolkit.errors import GateError
from toolkit.package import package
from toolkit.predictor import Prediction, Predictor
from toolkit.progress import Progress, silent
from toolkit.report import Report
from toolkit.serving.serve import start_server

SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ServedCheck:
    """Rows asked one at a time over one connection, how many got the process's own answer, and how fast."""

    asked: int
    agreed: int
    p50_ms: float
    start_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check_served(
    artifact: Artifact, report: Report | None, examples: Sequence[str], *, progress: Progress = silent
) -> tuple[str, ServedCheck]:
    """Returns the bento's tag and what its server did; raises `GateError` when an answer differs."""
    progress("serve", 0, 3, "packaging")
    packed = package(artifact, report=report)
    progress("serve", 1, 3, f"starting {packed.tag}")
    with Predictor.load(artifact) as predictor:
        expected = [predictor([example])[0] for example in examples]
    begun = time.perf_counter()
    with start_server(packed.tag) as url:
        started = time.perf_counter() - begun
        progress("serve", 2, 3, f"asking {len(examples)} questions at {url}")
        answers, milliseconds = _ask(url, examples)
    agreed = sum(_same(answer, wanted, artifact.digest) for answer, wanted in zip(answers, expected, strict=True))
    if agreed != len(examples):
        raise GateError(f"the server answered {len(examples) - agreed} of {len(examples)} rows unlike the process")
    progress("serve", 3, 3, f"{agreed} of {len(examples)} answers are those of the process")
    return packed.tag, ServedCheck(len(examples), agreed, statistics.median(milliseconds), started)


def _ask(url: str, examples: Sequence[str]) -> tuple[list[Any], list[float]]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    answers, milliseconds = [], []
    try:
        for example in examples:
            body = json.dumps({"inputs": [example]})
            begun = time.perf_counter()
            connection.request("POST", "/v1/classify", body, {"content-type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            milliseconds.append((time.perf_counter() - begun) * 1e3)
            if response.status != 200:
                raise GateError(f"the server answered {response.status} to a question it should know")
            answers.append(json.loads(content))
    finally:
        connection.close()
    return answers, milliseconds


def _same(answer: Any, expected: Prediction, digest: str) -> bool:
    found = answer["predictions"][0]
    close = abs(found["score"] - expected.score) <= SCORE_TOLERANCE
    return bool(found["label"] == expected.label and close and answer["model"]["digest"] == digest)
