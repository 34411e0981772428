"""The application over ASGI: what it answers, and how it refuses."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from serving.conftest import Client
from serving.small_models import TEXTS, picture

from toolkit.artifact import Artifact
from toolkit.predictor import Predictor
from toolkit.runners.cancel import Cancel
from toolkit.serving.app import App
from toolkit.serving.bodies import read_body
from toolkit.serving.problems import Problem
from toolkit.serving.settings import Settings
from toolkit.spec import Array, Arrays

Open = Callable[..., Client]
CANARY = "canary-7f3a91"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of `response`, checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["error"] == document["detail"]
    assert set(document) <= {"type", "title", "status", "detail", "code", "error", "errors"}
    assert CANARY not in response.text
    return document


def test_texts_get_the_answers_of_the_predictor(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    answer = open_app().post("/v1/classify", json={"inputs": TEXTS}).json()
    artifact = artifacts["text"]
    assert answer["model"] == {"name": "questions", "version": artifact.digest[:12], "digest": artifact.digest}
    with Predictor.load(artifact) as predictor:
        expected = [{"label": p.label, "score": p.score} for p in predictor(TEXTS)]
    assert answer["predictions"] == expected


def test_top_lists_the_most_probable_labels(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    rows = open_app().post("/v1/classify?top=3", json={"inputs": TEXTS[:1]}).json()["predictions"]
    with Predictor.load(artifacts["text"]) as predictor:
        scores = predictor.probabilities(TEXTS[:1])[0]
    assert [entry["score"] for entry in rows[0]["top"]] == sorted(scores.tolist(), reverse=True)[:3]
    assert rows[0]["top"][0] == {"label": rows[0]["label"], "score": rows[0]["score"]}


@pytest.mark.parametrize("query", ["top=0", "top=5", "top=x", "top=", "top=1&top=2", f"{CANARY}=1", "top=%F0%9F%98%80"])
def test_a_wrong_parameter_is_refused(open_app: Open, query: str) -> None:
    response = open_app().post(f"/v1/classify?{query}", json={"inputs": ["a"]})
    assert response.status_code == 422
    assert CANARY not in response.text


def test_a_picture_is_the_same_in_json_in_a_form_and_raw(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    ask = open_app("image")
    content, photo = picture(5), picture(6, size=20, kind="JPEG")
    with Predictor.load(artifacts["image"]) as predictor:
        expected = [{"label": p.label, "score": p.score} for p in predictor([content])]
    coded = {"inputs": [base64.b64encode(content).decode()]}
    assert ask.post("/v1/classify", json=coded).json()["predictions"] == expected
    raw = ask.post("/v1/classify", content=content, headers={"content-type": "image/png"})
    assert raw.json()["predictions"] == expected
    files = [("image", ("a.png", content, "image/png")), ("image", ("b.jpg", photo, "image/jpeg"))]
    form = ask.post("/v1/classify", files=files).json()["predictions"]
    assert len(form) == 2
    assert form[0] == pytest.approx(expected[0])


def test_records_are_scored_in_order_and_ranked_on_request(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    ask = open_app("recommend")
    rows = [{"user": "1", "item": item, "age": 40} for item in ("10", "20", "30")]
    with Predictor.load(artifacts["recommend"]) as predictor:
        expected = predictor.probabilities(rows)[:, 1].tolist()
    scored = ask.post("/v1/recommend", json={"inputs": rows}).json()["predictions"]
    assert scored == [{"index": i, "score": score} for i, score in enumerate(expected)]
    best = ask.post("/v1/recommend?top=2", json={"inputs": rows}).json()["predictions"]
    assert [row["index"] for row in best] == np.argsort(expected)[::-1][:2].tolist()
    problem(ask.post("/v1/classify", json={"inputs": rows}), 404, "not_found")


def test_the_model_says_what_it_is(open_app: Open, artifacts: dict[str, Artifact]) -> None:
    artifact = artifacts["text"]
    ask = open_app(queue=7)
    evidence = artifact.folder / "evidence"
    assert ask.get("/v1/model").json()["evidence"] is None
    evidence.mkdir()
    try:
        (evidence / "report.json").write_text(json.dumps({"verdict": "pass"}))
        model = ask.get("/v1/model").json()
    finally:
        (evidence / "report.json").unlink()
        evidence.rmdir()
    assert model["digest"] == artifact.digest
    assert model["lineage"]["steps"] == [{"name": "export", "settings": {"opset": 17}}]
    assert model["files"]["model.onnx"] == artifact.files["model.onnx"]["sha256"]
    assert model["settings"]["queue"] == 7
    assert model["runtime"]["provider"] == "CPUExecutionProvider"
    assert model["evidence"] == {"verdict": "pass"}


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_health(open_app: Open, path: str) -> None:
    ask = open_app()
    assert ask.get(path).status_code == 200
    assert ask("HEAD", path).content == b""
    response = Client(App()).get(path)
    if "ready" in path:
        problem(response, 503, "not_ready")
        assert response.headers["retry-after"] == "1"
    else:
        assert response.status_code == 200


def test_nothing_is_answered_without_a_model(open_app: Open) -> None:
    problem(Client(App()).post("/v1/classify", json={"inputs": ["a"]}), 503, "not_ready")
    ask = open_app()
    ask.app.close()
    problem(ask.post("/v1/classify", json={"inputs": ["a"]}), 503, "not_ready")


BAD_BODIES = [
    (b"", 400, "not_json"),
    (f'{{"inputs": ["{CANARY}"'.encode(), 400, "not_json"),
    (b'{"inputs": ["\xff"]}', 400, "not_json"),
    (b'{"inputs": [NaN]}', 400, "not_json"),
    (b'{"inputs": [1e999]}', 400, "not_json"),
    (b'{"inputs": ["\\ud800"]}', 400, "not_json"),
    (b"[" * 5000, 400, "not_json"),
    (f'"{CANARY}"'.encode(), 422, "not_an_object"),
    (b"{}", 422, "missing"),
    (f'{{"inputs": ["a"], "{CANARY}": 1}}'.encode(), 422, "missing"),
    (f'{{"inputs": "{CANARY}"}}'.encode(), 422, "not_a_list"),
    (b'{"inputs": []}', 422, "empty"),
    (b'{"inputs": ["a", "a", "a", "a", "a", "a"]}', 422, "too_many_rows"),
    (b'{"inputs": [null]}', 422, "unusable_input"),
    (b'{"inputs": [""]}', 422, "unusable_input"),
    (f'{{"inputs": [["{CANARY}"]]}}'.encode(), 422, "unusable_input"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES)
def test_a_bad_body_is_refused_by_name(open_app: Open, body: bytes, status: int, code: str) -> None:
    ask = open_app(max_rows=5)
    problem(ask.post("/v1/classify", content=body, headers={"content-type": "application/json"}), status, code)


def test_every_bad_row_gets_its_pointer(open_app: Open) -> None:
    document = problem(
        open_app().post("/v1/classify", json={"inputs": ["a", 5, "b", " ", {CANARY: 1}]}), 422, "unusable_input"
    )
    assert [fault["pointer"] for fault in document["errors"]] == ["/inputs/1", "/inputs/3", "/inputs/4"]
    assert document["errors"][0]["detail"] == "is int; this model takes text"


@pytest.mark.parametrize("row", [CANARY, {CANARY: 1}, {"age": CANARY}, {"user": "1", "age": [CANARY]}, None])
def test_a_bad_record_is_refused(open_app: Open, row: Any) -> None:
    document = problem(open_app("recommend").post("/v1/recommend", json={"inputs": [{}, row]}), 422, "unusable_input")
    assert document["errors"][0]["pointer"] == "/inputs/1"


def test_a_bad_picture_is_refused(open_app: Open) -> None:
    ask = open_app("image")
    good = base64.b64encode(picture(0)).decode()
    bad = base64.b64encode(CANARY.encode()).decode()
    document = problem(ask.post("/v1/classify", json={"inputs": [good, bad]}), 422, "unusable_input")
    assert document["errors"][0]["pointer"] == "/inputs/1"
    problem(ask.post("/v1/classify", json={"inputs": [good, f"?{CANARY}"]}), 422, "not_base64")
    raw = {"content": CANARY.encode(), "headers": {"content-type": "image/png"}}
    problem(ask.post("/v1/classify", **raw), 422, "unusable_input")


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("multipart/form-data", b"x", "no_boundary"),
        ("multipart/form-data; boundary=B", CANARY.encode(), "not_multipart"),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nx',
         "not_multipart"),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--\r\n',
         "not_a_file"),
        ("multipart/form-data; boundary=B", b"--B\r\nContent-Disposition: form-data; filename=a\r\n\r\n\r\n" * 3
         + b"--B--\r\n", "too_many_rows"),
    ],
)  # fmt: skip
def test_a_bad_form_is_refused(open_app: Open, content_type: str, body: bytes, code: str) -> None:
    response = open_app("image", max_rows=2).post("/v1/classify", content=body, headers={"content-type": content_type})
    problem(response, 400 if code in ("no_boundary", "not_multipart") else 422, code)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "image/png"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_another_content_type_is_refused(open_app: Open, headers: dict[str, str]) -> None:
    response = open_app().post("/v1/classify", content=b'{"inputs": ["a"]}', headers=headers)
    problem(response, 415, "encoded" if "content-encoding" in headers else "media_type")


def test_a_wrong_path_or_method_is_refused(open_app: Open) -> None:
    ask = open_app()
    problem(ask.get(f"/{CANARY}?{CANARY}"), 404, "not_found")
    problem(ask.post("/v2/models/other/infer", json={}), 404, "not_found")
    response = ask.get("/v1/classify")
    problem(response, 405, "method")
    assert response.headers["allow"] == "POST"
    response = ask("DELETE", "/v1/model")
    problem(response, 405, "method")
    assert response.headers["allow"] == "GET, HEAD"


def test_a_large_body_is_refused_by_its_length_and_while_it_streams(open_app: Open) -> None:
    ask = open_app(max_body_bytes=1000)
    seen = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal seen
        while True:
            seen += 100
            yield b"x" * 100

    response = ask.post("/v1/classify", content=b"x" * 1001)
    problem(response, 413, "too_large")
    assert response.headers["connection"] == "close"
    problem(ask.post("/v1/classify", content=endless()), 413, "too_large")
    assert seen <= 1200
    problem(ask.post("/v1/classify", content=b"{}", headers={"content-length": "1e3"}), 413, "too_large")


def test_a_body_over_the_small_limit_is_parsed_and_answered(open_app: Open) -> None:
    ask = open_app()
    assert len(ask.post("/v1/classify", json={"inputs": ["word " * 100_000]}).json()["predictions"]) == 1
    long = ask.post("/v1/classify", content=b"[" * 300_000, headers={"content-type": "application/json"})
    problem(long, 400, "not_json")


def test_a_body_that_has_come_whole_needs_no_timer() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"{}"}

    settings = Settings(body_seconds=0.001)
    assert asyncio.run(read_body({}, receive, settings, whole=True)).content == b"{}"
    with pytest.raises(Problem, match="408"):
        asyncio.run(read_body({}, receive, settings))


def test_a_slow_body_is_refused(open_app: Open) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    started = time.monotonic()
    problem(open_app(body_seconds=0.05).post("/v1/classify", content=slow()), 408, "slow_body")
    assert time.monotonic() - started < 3


class Held:
    """A runner that waits to be released, then runs the real one."""

    def __init__(self, runner: Any) -> None:
        self.runner, self.release, self.entered = runner, threading.Event(), threading.Event()

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        self.entered.set()
        assert self.release.wait(10)
        logits: Array = self.runner.run(arrays)
        return logits

    def close(self) -> None:
        self.runner.close()


def hold(ask: Client) -> Held:
    served = ask.app._served
    assert served is not None
    held = Held(served.predictor.runner)
    served.predictor.runner = held  # type: ignore[assignment]
    return held


def test_a_late_answer_is_504_and_its_slot_stays_taken(open_app: Open) -> None:
    ask = open_app(timeout_seconds=0.1, concurrency=1, queue=1)
    held = hold(ask)
    problem(ask.post("/v1/classify", json={"inputs": [CANARY]}), 504, "deadline")
    assert ask.app._admission is not None
    assert ask.app._admission.running == 1
    held.release.set()


def test_a_full_queue_is_503_with_retry_after(open_app: Open) -> None:
    ask = open_app(concurrency=1, queue=0)
    held = hold(ask)
    first = threading.Thread(target=ask.post, args=("/v1/classify",), kwargs={"json": {"inputs": ["a"]}})
    first.start()
    assert held.entered.wait(5)
    response = ask.post("/v1/classify", json={"inputs": ["a"]})
    held.release.set()
    first.join()
    problem(response, 503, "overloaded")
    assert response.headers["retry-after"] == "1"


class Broken:
    """A runner that raises or computes nonsense."""

    def __init__(self, result: Exception | Array) -> None:
        self.result = result

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def close(self) -> None: ...


def test_a_fault_of_ours_is_500_and_no_value_is_logged(open_app: Open, caplog: pytest.LogCaptureFixture) -> None:
    ask = open_app()
    assert ask.app._served is not None
    ask.app._served.predictor.runner = Broken(RuntimeError(CANARY))  # type: ignore[assignment]
    with caplog.at_level(logging.DEBUG):
        problem(ask.post("/v1/classify", json={"inputs": ["a"]}), 500, "internal")
    assert "RuntimeError at " in caplog.text
    assert CANARY not in caplog.text


def test_an_output_that_is_not_a_number_is_500(open_app: Open) -> None:
    ask = open_app()
    assert ask.app._served is not None
    ask.app._served.predictor.runner = Broken(np.full((1, 4), np.nan, dtype=np.float32))  # type: ignore[assignment]
    problem(ask.post("/v1/classify", json={"inputs": ["a"]}), 500, "non_finite_output")


def test_each_request_is_observed_once(artifacts: dict[str, Artifact], open_app: Open) -> None:
    seen: list[tuple[str, int, str]] = []
    ask = open_app()
    ask.app.observe = lambda route, status, code, seconds: seen.append((route, status, code))
    ask.post("/v1/classify", json={"inputs": ["a"]})
    ask.post("/v1/classify", json={})
    ask.get(f"/{CANARY}")
    ask.get("/v2/models/questions")
    assert seen == [("classify", 200, ""), ("classify", 422, "missing"), ("other", 404, "not_found"),
                    ("metadata", 200, "")]  # fmt: skip
