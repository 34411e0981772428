"""Small real artifacts, the application over ASGI, and one real server from a real bento."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.small_models import image_artifact, recommender_artifact, text_artifact

from toolkit.artifact import Artifact
from toolkit.package import Packaged, package
from toolkit.serving.app import App
from toolkit.serving.loading import load_served
from toolkit.serving.serve import Server, free_port, prepare
from toolkit.serving.settings import Settings

ARTIFACTS: dict[str, Callable[[Path], Artifact]] = {
    "text": text_artifact,
    "image": image_artifact,
    "recommend": recommender_artifact,
}


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """One small artifact a task."""
    root = tmp_path_factory.mktemp("artifacts")
    return {task: make(root / task) for task, make in ARTIFACTS.items()}


class Client:
    """Requests straight into an ASGI application, one event loop a request."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]  # httpx types scopes more widely
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self("POST", path, **options)


@pytest.fixture
def open_app(artifacts: dict[str, Artifact]) -> Iterator[Callable[..., Client]]:
    """Make the application of a task, with settings."""
    opened: list[App] = []

    def make(task: str = "text", **settings: Any) -> Client:
        app = App()
        app.open(load_served(artifacts[task].folder, settings=Settings(**settings)))
        opened.append(app)
        return Client(app)

    yield make
    for app in opened:
        app.close()


@dataclass(frozen=True)
class Running:
    """A real server of a real bento, and the artifact in it."""

    server: Server
    packaged: Packaged
    artifact: Artifact


@pytest.fixture(scope="session")
def running(artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`bentoml serve TAG` on a free loopback port, with a BENTOML_HOME of its own."""
    home = tmp_path_factory.mktemp("bentoml")
    before = os.environ.get("BENTOML_HOME")
    os.environ["BENTOML_HOME"] = str(home)
    try:
        packaged = package(artifacts["text"])
        port = free_port()
        launch = prepare(packaged.tag, host="127.0.0.1", port=port, threads=1)
        server = Server.start(launch, port=port, log=home / "server.log")
    finally:
        if before is None:
            del os.environ["BENTOML_HOME"]
        else:
            os.environ["BENTOML_HOME"] = before
    try:
        server.wait_until_ready(90)
        yield Running(server, packaged, artifacts["text"])
    finally:
        server.stop()
