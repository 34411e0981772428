"""The page at /: what is sent, and what a person sees of it in Debian's chromium."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image
from serving.browser import CHROMIUM, Tab, browser
from serving.conftest import Client, Running
from serving.small_models import TEXTS, picture

from toolkit.artifact import Artifact
from toolkit.predictor import Predictor
from toolkit.serving.app import App
from toolkit.serving.loading import load_served
from toolkit.serving.page import PAGE
from toolkit.serving.problems import Problem
from toolkit.serving.serve import free_port

Open = Callable[..., Client]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
SHOWN = "!document.querySelector('#form').hidden"
ANSWERED = "!document.querySelector('#result').hidden"
REFUSED = "document.querySelector('#error').innerText"


def test_it_is_one_file_that_may_run_and_load_nothing_else(open_app: Open) -> None:
    response = open_app().get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|\bsrc=|\bon[a-z]+=|style=|innerHTML|\beval\b", response.text)
    assert len(PAGE.splitlines()) < 300


def test_it_is_there_before_the_model_and_holds_nothing_of_it(open_app: Open) -> None:
    empty, full = Client(App()).get("/"), open_app().get("/")
    assert empty.status_code == 200
    assert empty.content == full.content == PAGE


def test_a_bento_brings_it(running: Running) -> None:
    assert httpx.get(running.server.url).content == PAGE
    assert "/v1/classify" in httpx.get(f"{running.server.url}/openapi.json").json()["paths"]


class OneKey:
    """Lets the bearer of one key in."""

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        if headers.get(b"authorization") != b"Bearer sesame":
            raise Problem(401, "unauthorized", "a key is expected", headers=[(b"www-authenticate", b"Bearer")])


@contextmanager
def listening(app: App) -> Iterator[str]:
    """`app` on a loopback port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def see(app: App, folder: Path, look: Callable[[Tab, str], Awaitable[None]]) -> None:
    """Run `look` with a tab and the address of `app`; nothing may be thrown or refused by the policy."""

    async def run(url: str) -> None:
        async with browser(folder) as tab:
            await look(tab, url)
            assert tab.complaints() == []

    with listening(app) as url:
        asyncio.run(run(url))


def requested(tab: Tab) -> list[str]:
    return [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]


@needs_chromium
def test_a_person_types_a_text_and_reads_the_answer(
    open_app: Open, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    question = "Who wrote 'Hamlet' ?"
    with Predictor.load(artifacts["text"]) as predictor:
        (expected,) = predictor([question])

    async def look(tab: Tab, url: str) -> None:
        await tab.open(url)
        await tab.until(SHOWN)
        await tab.type(question)
        await tab.press("Enter")
        await tab.until(ANSWERED)
        assert await tab.text("#label") == expected.label
        assert await tab.text("#said") == f"{expected.label}, {100 * expected.score:.1f} %"
        bars = await tab.value("[...document.querySelectorAll('#bars li')].map(row => row.innerText.split('\\n'))")
        assert bars[0][0] == expected.label
        assert sorted(row[0] for row in bars) == sorted(artifacts["text"].spec.labels)
        width = await tab.value("document.querySelector('#bars .fill').getBoundingClientRect().width / "
                                "document.querySelector('#bars .track').getBoundingClientRect().width")  # fmt: skip
        assert width == pytest.approx(expected.score, abs=0.01)
        assert re.search(r"[\d.]+ ms there and back", await tab.text("#time"))
        assert artifacts["text"].digest in await tab.text("#facts")
        assert "none was measured" in await tab.text("#facts")
        assert await tab.text("#lineage") == "export"
        assert "'\\''Hamlet'\\''" in await tab.text("#curl")
        assert all("Hamlet" not in address and address.startswith((url, "data:")) for address in requested(tab))
        # an answer that is refused says so, and takes the old answer away
        await tab.value("document.querySelector('#text').value = '   '")
        await tab.press("Enter")
        await tab.until(REFUSED)
        assert "422" in await tab.text("#error")
        assert "takes text with at least one character" in await tab.text("#error")
        assert not await tab.value(ANSWERED)

    see(open_app().app, tmp_path, look)


@needs_chromium
def test_a_person_drops_a_picture_or_picks_one(open_app: Open, artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    content = {name: picture(seed, size=40) for name, seed in (("dropped.png", 5), ("picked.png", 6))}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with Predictor.load(artifacts["image"]) as predictor:
        expected = {name: predictor([data])[0] for name, data in content.items()}

    async def look(tab: Tab, url: str) -> None:
        await tab.open(url, dark=True)
        await tab.until(SHOWN)
        await tab.drop(tmp_path / "dropped.png", "#drop")
        await tab.until(ANSWERED)
        assert await tab.text("#label") == expected["dropped.png"].label
        assert f"{100 * expected['dropped.png'].score:.1f} %" in await tab.text("#time")
        await tab.until("document.querySelector('#preview').naturalWidth === 40")
        found = await tab.call("DOM.querySelector", nodeId=(await tab.call("DOM.getDocument"))["root"]["nodeId"],
                               selector="#file")  # fmt: skip
        await tab.call("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(tmp_path / "picked.png")])
        await tab.until(
            f"document.querySelector('#time').innerText.includes('{100 * expected['picked.png'].score:.1f}')"
        )
        assert "--data-binary @'picked.png'" in await tab.text("#curl")
        # dark, and wholly drawn: the corner of the picture of the page is the dark paper
        pixels = Image.open(io.BytesIO(await tab.picture())).convert("RGB")
        corner = pixels.getpixel((2, 2))
        assert isinstance(corner, tuple)
        assert max(corner) < 60

    see(open_app("image").app, tmp_path, look)


@needs_chromium
def test_a_person_fills_a_record_on_a_narrow_screen(
    open_app: Open, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    with Predictor.load(artifacts["recommend"]) as predictor:
        score = predictor.probabilities([{"user": "2", "item": "30", "age": 41}])[0, 1]

    async def look(tab: Tab, url: str) -> None:
        await tab.open(url, width=360)
        await tab.until(SHOWN)
        for text in ("2", "30", "41"):
            await tab.type(text)
            if text != "41":
                await tab.press("Tab")
        assert await tab.value("[...document.querySelectorAll('#known-1 option')].map(o => o.value)") == [
            "10",
            "20",
            "30",
        ]
        await tab.press("Enter")
        await tab.until(ANSWERED)
        assert await tab.text("#label") == f"yes {100 * score:.1f} %"
        assert await tab.value("document.documentElement.scrollWidth <= 360"), "nothing sticks out"
        await tab.value("document.querySelector('#field-2').value = 'old'")
        await tab.press("Enter")
        await tab.until(REFUSED)
        assert "age must be a finite number" in await tab.text("#error")

    see(open_app("recommend").app, tmp_path, look)


@needs_chromium
def test_long_labels_and_many_of_them_evidence_and_a_key(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    labels = tuple(f"{'a-label-without-any-space-' * 4}{i:03d}<b>" for i in range(150))
    served = load_served(artifacts["text"].folder)
    app = App()
    app.keys = OneKey()
    app.open(served)
    report = {
        "digest": served.artifact.digest, "split": "test", "verdict": {"words": "cannot tell"},
        "test": {"accuracy": {"value": 0.91, "low": 0.88, "high": 0.94}, "rows": 500},
        "latency": {"p50_ms": 0.5, "p99_ms": None, "scenario": "single row"},
    }  # fmt: skip
    answer = {"model": served.identity, "predictions": [{"label": labels[0], "score": 1 / 150,
              "top": [{"label": label, "score": 1 / 150} for label in labels]}]}  # fmt: skip
    described = {**_ask(app, "/v1/model"), "labels": labels, "evidence": report}
    stand_in = _Answering(app, {"/v1/model": described, "/v1/classify": answer})

    async def look(tab: Tab, url: str) -> None:
        await tab.open(url, width=400)
        await tab.until("!document.querySelector('#key-form').hidden")
        assert "401" in await tab.text("#error")
        await tab.type("wrong")
        await tab.press("Enter")
        await tab.until("document.querySelector('#error').innerText.includes('401')")
        await tab.value("document.querySelector('#key').value = ''")
        await tab.type("sesame")
        await tab.press("Enter")
        await tab.until(SHOWN)
        assert not await tab.text("#error")
        facts = await tab.text("#facts")
        for words in ("cannot tell", "91.0 % (95 %: 88.0 % to 94.0 %), 500 test rows", "p50 0.50 ms (single row)"):
            assert words in facts
        await tab.type(TEXTS[0])
        await tab.press("Enter")
        await tab.until(ANSWERED)
        assert await tab.text("#label") == labels[0], "text, not markup"
        assert await tab.value("document.querySelectorAll('#bars li').length") == 150
        assert await tab.value("document.documentElement.scrollWidth <= 400"), "nothing sticks out"
        assert await tab.value("document.querySelector('#bars').clientHeight < 600"), "a list to scroll"
        command = await tab.text("#curl")
        assert "$API_KEY" in command
        assert "sesame" not in command
        assert not any("sesame" in address for address in requested(tab))

    see(stand_in, tmp_path, look)  # type: ignore[arg-type]
    app.close()


def _ask(app: App, path: str) -> dict[str, Any]:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={"authorization": "Bearer sesame"})

    found: dict[str, Any] = asyncio.run(send()).json()
    return found


class _Answering:
    """The application, with the 200s at some paths replaced: a model of 150 labels need not be trained."""

    def __init__(self, app: App, answers: Mapping[str, Any]) -> None:
        self._app, self._answers = app, answers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        known = self._answers.get(scope.get("path"))
        if known is None or scope["headers"] is None:
            await self._app(scope, receive, send)
            return
        try:
            OneKey().check(dict(scope["headers"]))
        except Problem:
            await self._app(scope, receive, send)
            return
        content = json.dumps(known).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": content})
