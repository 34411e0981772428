"""The one place that knows BentoML's inside: our application in front of its own, our server around both.

BentoML packages, supervises, containerizes and shows metrics; its HTTP stack costs more than a
millisecond a request, so the hot paths never enter it. What is used here and is not documented:

- `bentoml.service(service_class=...)`, and that a worker serves `Service.to_asgi(is_main=...)`;
- that the ASGI application is a Starlette whose lifespan makes the instance by calling the service;
- `BentoMLContainer.prometheus_multiproc_dir` (wiped at start, so two servers of one BENTOML_HOME
  would wipe each other's) and `.metrics_client`, the registry behind /metrics;
- that a worker is `python -m _bentoml_impl.worker.service`, which takes `uvicorn.Config` and
  `uvicorn.Server` when it has the application: `worker` stands in their place there;
- that a supervisor takes `Arbiter` of `bentoml._internal.utils.circus`, after it has imported the
  service: `supervisor` stands in its place there;
- that uvicorn takes uvloop when it is installed, and logs access only if the logger
  `uvicorn.access` has a handler.

Written against BentoML 1.4.39; tests/serving/test_serving_seam.py fails when any of it moves.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import bentoml
from _bentoml_sdk.service.factory import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.routing import Match

from toolkit.serving.app import App, Scope, Send
from toolkit.serving.bodies import Receive
from toolkit.serving.control import Control
from toolkit.serving.keys import Keys
from toolkit.serving.metric_files import reserve_metric_files
from toolkit.serving.metrics import PrometheusObserver
from toolkit.serving.settings import settings_from

WRITTEN_AGAINST = "1.4.39"
WORKER = "_bentoml_impl.worker.service"
METRICS = "/metrics"


class BentoApplication:
    """BentoML's application behind ours; `takes` asks its own routes."""

    def __init__(self, inner: Any, metrics: PrometheusObserver) -> None:
        self._inner, self._metrics = inner, metrics

    def takes(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._inner.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == METRICS:
            self._metrics.refresh()
        await self._inner(scope, receive, send)


class FrontedService(Service):  # type: ignore[misc]  # BentoML is untyped for mypy
    """A BentoML service whose class has an attribute `served`; our application answers for it."""

    def to_asgi(self, is_main: bool = True) -> App:
        inner = super().to_asgi(is_main=is_main)
        metrics = prometheus_observer()
        self.front = App(
            settings=settings_from(),
            fallback=BentoApplication(inner, metrics),
            observe=metrics,
            keys=Keys.from_environment(),
        )
        metrics.queue_depth(lambda: self.front.waiting)
        if is_worker():
            _serve_by_our_server()
        return self.front

    def __call__(self) -> Any:
        instance = super().__call__()
        if (front := getattr(self, "front", None)) is not None:
            control = Control(front)
            control.start(instance.served)
            front.endings.append(control.stop)
        return instance


def service(name: str) -> Any:
    """`@service("name")` in place of `@bentoml.service`: loopback unless told, quiet, fronted."""
    _keep_quiet()
    if not is_worker():
        _use_own_metrics_folder()
        _supervise_by_our_arbiter()
    else:
        reserve_metric_files()
    return bentoml.service(
        name=name,
        service_class=FrontedService,
        workers=1,
        http={"host": "127.0.0.1"},
        traffic={"timeout": 30},
        # its access log quotes paths, and a path may carry anything
        logging={"access": {"enabled": False}},
    )


def prometheus_observer() -> PrometheusObserver:
    """Feeds BentoML's /metrics."""
    return PrometheusObserver(BentoMLContainer.metrics_client.get())


def is_worker() -> bool:
    """True in a process that BentoML's supervisor started to serve, false in the supervisor and anywhere else."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == WORKER


def _serve_by_our_server() -> None:
    import uvicorn

    from toolkit.serving.worker import FrontedConfig, FrontedServer

    uvicorn.Config, uvicorn.Server = FrontedConfig, FrontedServer  # type: ignore[assignment,misc]


def _supervise_by_our_arbiter() -> None:
    import bentoml._internal.utils.circus as circus

    from toolkit.serving.supervisor import FrontedArbiter

    circus.Arbiter = FrontedArbiter


def _keep_quiet() -> None:
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # without a handler uvicorn does not even build the line, which would quote the query
    logging.getLogger("uvicorn.access").propagate = False


def _use_own_metrics_folder() -> None:
    """In the supervisor: a metrics folder of this server's own, removed when it ends."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # named by whoever started it
        return
    folder = Path(BentoMLContainer.bentoml_home.get()) / f"prometheus_multiproc_dir.{uuid.uuid4().hex}"
    BentoMLContainer.prometheus_multiproc_dir.set(str(folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
