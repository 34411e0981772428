"""The contract with BentoML's inside: every assertion here is something that `seam` stands on."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import _bentoml_impl.server.app
import _bentoml_impl.server.serving
import _bentoml_impl.worker.service
import bentoml.serving
import httptools
import uvicorn
import uvloop
from _bentoml_sdk.service.factory import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.applications import Starlette

import toolkit
from toolkit.package import services_folder
from toolkit.serving import seam
from toolkit.serving.app import App


def test_this_is_the_version_it_was_written_against() -> None:
    assert importlib.metadata.version("bentoml") == seam.WRITTEN_AGAINST, "read seam.py again, then move the number"


def test_a_service_may_be_of_another_class_and_stays_a_service() -> None:
    @seam.service("contract")
    class Contract:
        """Nothing."""

    assert isinstance(Contract, Service)
    assert isinstance(Contract, seam.FrontedService)
    assert Contract.config["http"] == {"host": "127.0.0.1"}
    assert Contract.config["logging"] == {"access": {"enabled": False}}
    assert Contract.config["workers"] == 1


def test_a_worker_serves_what_to_asgi_returns_and_leaves_loop_and_parser_to_uvicorn() -> None:
    source = inspect.getsource(_bentoml_impl.worker.service)
    assert "asgi_app = service.to_asgi(is_main=" in source
    assert "app=asgi_app," in source
    assert list(inspect.signature(Service.to_asgi).parameters) == ["self", "is_main"]
    config = uvicorn.Config(app=App(), log_config=None)
    config.load()
    assert config.http_protocol_class.__name__ == "HttpToolsProtocol"
    assert config.get_loop_factory().__module__.startswith("uvloop")
    assert httptools.__version__
    assert uvloop.__version__


def test_the_instance_is_made_by_calling_the_service_in_a_starlette_lifespan() -> None:
    source = inspect.getsource(_bentoml_impl.server.app.ServiceAppFactory.create_instance)
    assert "self._service_instance = self.service()" in source
    assert "return factory()" in inspect.getsource(Service.to_asgi)
    assert inspect.signature(_bentoml_impl.server.app.ServiceAppFactory.__call__).return_annotation == "Starlette"
    assert hasattr(Starlette(), "routes")


def test_the_metrics_folder_is_asked_for_when_a_server_starts() -> None:
    assert "ensure_prometheus_dir()" in inspect.getsource(_bentoml_impl.server.serving.serve_http)
    default = inspect.signature(bentoml.serving.ensure_prometheus_dir).parameters["directory"].default
    assert default is not None
    assert Path(BentoMLContainer.prometheus_multiproc_dir.get()).name.startswith("prometheus_multiproc_dir")
    assert hasattr(BentoMLContainer.metrics_client.get(), "Histogram")


def test_a_worker_is_not_tracked_and_logs_no_access() -> None:
    program = (
        "import logging, os\n"
        "from bentoml._internal.log import configure_server_logging\n"
        "configure_server_logging()\n"
        "assert logging.getLogger('uvicorn.access').hasHandlers(), 'nothing to silence any more'\n"
        "import service\n"
        "print(os.environ['BENTOML_DO_NOT_TRACK'], logging.getLogger('uvicorn.access').hasHandlers())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "BENTOML_DO_NOT_TRACK"}
    environment["PYTHONPATH"] = str(Path(toolkit.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=services_folder() / "text_classifier", env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "True False", done.stderr
