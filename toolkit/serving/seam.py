"""The one place that knows BentoML's inside: our application in front of its own.

BentoML packages, supervises, containerizes and shows metrics; its HTTP stack costs more than a
millisecond a request, so the hot paths never enter it. What is used here and is not documented:

- `bentoml.service(service_class=...)`, and that a worker serves `Service.to_asgi(is_main=...)`;
- that the ASGI application is a Starlette whose lifespan makes the instance by calling the service;
- `BentoMLContainer.prometheus_multiproc_dir` (wiped at start, so two servers of one BENTOML_HOME
  would wipe each other's) and `.metrics_client`, the registry behind /metrics;
- that uvicorn takes uvloop and httptools when they are installed, and logs access only if the logger
  `uvicorn.access` has a handler.

Written against BentoML 1.4.39; tests/serving/test_serving_seam.py fails when any of it moves.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import uuid
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import bentoml
from _bentoml_sdk.service.factory import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.routing import Match

from toolkit.serving.app import App, Observe, Scope, Send
from toolkit.serving.bodies import Receive
from toolkit.serving.settings import settings_from

WRITTEN_AGAINST = "1.4.39"
# from 0.1 ms: a small model answers long before the 5 ms at which the usual buckets begin
BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class BentoApplication:
    """BentoML's application behind ours; `takes` asks its own routes."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def takes(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._inner.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inner(scope, receive, send)


class FrontedService(Service):  # type: ignore[misc]  # BentoML is untyped for mypy
    """A BentoML service whose class has an attribute `served`; our application answers for it."""

    def to_asgi(self, is_main: bool = True) -> App:
        inner = super().to_asgi(is_main=is_main)
        self.front = App(settings=settings_from(), fallback=BentoApplication(inner), observe=prometheus_observer())
        return self.front

    def __call__(self) -> Any:
        instance = super().__call__()
        if (front := getattr(self, "front", None)) is not None:
            front.open(instance.served)
        return instance


def service(name: str) -> Any:
    """`@service("name")` in place of `@bentoml.service`: loopback unless told, quiet, fronted."""
    _keep_quiet()
    _use_own_metrics_folder()
    return bentoml.service(
        name=name,
        service_class=FrontedService,
        workers=1,
        http={"host": "127.0.0.1"},
        traffic={"timeout": 30},
        # its access log quotes paths, and a path may carry anything
        logging={"access": {"enabled": False}},
    )


def prometheus_observer() -> Observe:
    """Feeds BentoML's /metrics: toolkit_request_seconds{route,status} and toolkit_problems_total{route,code}."""
    client = BentoMLContainer.metrics_client.get()
    histogram = client.Histogram(
        name="toolkit_request_seconds", documentation="Time of a request in the application.",
        labelnames=["route", "status"], buckets=BUCKETS,
    )  # fmt: skip
    problems = client.Counter(
        name="toolkit_problems_total", documentation="Requests answered by a problem document.",
        labelnames=["route", "code"],
    )  # fmt: skip
    children: MutableMapping[tuple[str, int], Any] = {}

    def observe(route: str, status: int, code: str, seconds: float) -> None:
        child = children.get((route, status))
        if child is None:
            child = children[route, status] = histogram.labels(route=route, status=str(status))
        child.observe(seconds)
        if code:
            problems.labels(route=route, code=code).inc()

    return observe


def _keep_quiet() -> None:
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # without a handler uvicorn does not even build the line, which would quote the query
    logging.getLogger("uvicorn.access").propagate = False


def _use_own_metrics_folder() -> None:
    """In the supervisor: a metrics folder of this server's own, removed when it ends."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # a worker, told by its supervisor
        return
    folder = Path(BentoMLContainer.bentoml_home.get()) / f"prometheus_multiproc_dir.{uuid.uuid4().hex}"
    BentoMLContainer.prometheus_multiproc_dir.set(str(folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
