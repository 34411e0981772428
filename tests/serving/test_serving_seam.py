"""The contract with BentoML's inside: every assertion here is something that `seam` stands on."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import _bentoml_impl.server.app
import _bentoml_impl.server.serving
import _bentoml_impl.worker.service
import bentoml._internal.utils.circus as circus_of_bentoml
import bentoml.serving
import circus.arbiter
import circus.controller
import circus.sighandler
import circus.watcher
import httptools
import prometheus_client
import prometheus_client.values
import pytest
import uvicorn
import uvloop
from _bentoml_sdk.service.factory import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from prometheus_client.mmap_dict import MmapedDict
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import toolkit
from toolkit.package import services_folder
from toolkit.serving import seam
from toolkit.serving.app import App
from toolkit.serving.connections import GuardedProtocol
from toolkit.serving.metric_files import RESERVED_BYTES, ReservedDict
from toolkit.serving.metrics import MOST_TIMES, WRITE_SECONDS, PrometheusObserver
from toolkit.serving.supervisor import FrontedArbiter, forget_gauges


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


def test_a_worker_serves_what_to_asgi_returns_and_leaves_the_loop_to_uvicorn() -> None:
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


def test_a_worker_takes_config_and_server_from_uvicorn_when_it_has_the_application() -> None:
    source = inspect.getsource(_bentoml_impl.worker.service)
    assert _bentoml_impl.worker.service.__name__ == seam.WORKER
    assert f'"{seam.WORKER}"' in inspect.getsource(_bentoml_impl.server.serving)
    assert source.index("service.to_asgi(") < source.index("config = uvicorn.Config(")
    assert "uvicorn.Server(config).run(sockets=[socket])" in source
    assert "server_header=False" in source
    assert not seam.is_worker()


def test_a_supervisor_takes_its_arbiter_from_a_module_after_it_has_the_service() -> None:
    serve = inspect.getsource(_bentoml_impl.server.serving.serve_http)
    assert serve.index("svc = load(") < serve.index("create_standalone_arbiter(**")
    create = inspect.getsource(circus_of_bentoml.create_standalone_arbiter)
    assert "ThreadedArbiter if threaded else Arbiter" in create
    for name in ("endpoint=", "pubsub_endpoint=", "check_delay="):
        assert name in create
    assert circus_of_bentoml.Arbiter is FrontedArbiter
    assert "respawn=not running_inside_container()" in inspect.getsource(bentoml.serving.create_watcher)


def test_circus_has_the_hooks_and_the_ways_to_end_that_the_supervisor_uses() -> None:
    arbiter = inspect.getsource(circus.arbiter.Arbiter)
    assert "self.ctrl = Controller(" in arbiter
    assert "self.sockets = CircusSockets(sockets)" in arbiter
    assert "No active process found for watcher." in arbiter
    assert "self.sys_hdl = SysHandler(self)" in inspect.getsource(circus.controller.Controller)
    handler = inspect.getsource(circus.sighandler.SysHandler)
    assert all(f"def handle_{name}(self):\n        self.quit()" in handler for name in ("int", "term", "quit"))
    watcher = inspect.getsource(circus.watcher.Watcher)
    reap = inspect.getsource(circus.watcher.Watcher.reap_process)
    assert '"exit_code": exit_code}' in reap
    assert 'self.call_hook("after_reap", process_status=process_status, **msg)' in reap
    assert "self.call_hook('after_spawn', pid=process.pid)" in watcher
    assert "if self.respawn:" in watcher


def test_uvicorn_has_what_the_protocol_and_the_server_override() -> None:
    protocol = inspect.getsource(HttpToolsProtocol)
    for name in (
        "self.connections.add(self)", "self.parser.feed_data(data)", "self._unset_keepalive_if_required()",
        "self.flow.pause_reading()", "self.pipeline", "self.expect_100_continue", "self.cycle.response_complete",
    ):  # fmt: skip
        assert name in protocol, name
    assert set(vars(GuardedProtocol)) & set(vars(HttpToolsProtocol)) >= {
        "connection_made", "data_received", "on_message_begin", "on_headers_complete", "shutdown",
    }  # fmt: skip
    server = inspect.getsource(uvicorn.Server)
    for name in (
        "await self.lifespan.startup()", "should_exit = await self.on_tick(counter)", "await self.shutdown(sockets",
        "signal.signal(sig, self.handle_exit)", "connection.shutdown()", "self._captured_signals",
    ):  # fmt: skip
        assert name in server, name
    assert "ssl_context_factory" in inspect.signature(uvicorn.Config).parameters


def test_a_queue_of_a_dead_worker_is_forgotten(tmp_path: Path) -> None:
    for name in ("gauge_livesum_7.db", "gauge_livesum_8.db", "counter_7.db"):
        (tmp_path / name).touch()
    forget_gauges(str(tmp_path), 7)
    assert {path.name for path in tmp_path.iterdir()} == {"gauge_livesum_8.db", "counter_7.db"}


def test_metric_files_have_no_holes(tmp_path: Path) -> None:
    assert "MmapedDict(filename)" in inspect.getsource(prometheus_client.values.MultiProcessValue)
    path = tmp_path / "counter_1.db"
    plain, ours = MmapedDict(str(tmp_path / "plain.db")), ReservedDict(str(path))
    try:
        assert (tmp_path / "plain.db").stat().st_blocks * 512 < 1 << 16  # what would be touched on a full disk
        assert path.stat().st_blocks * 512 >= RESERVED_BYTES
        ours.write_value("key", 2.5, 0.0)
        assert ours.read_value("key") == (2.5, 0.0)
    finally:
        plain.close()
        ours.close()
    assert [entry[:2] for entry in MmapedDict.read_all_values_from_file(str(path))] == [("key", 2.5)]


@pytest.fixture
def registry() -> prometheus_client.CollectorRegistry:
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def observer(registry: prometheus_client.CollectorRegistry) -> PrometheusObserver:
    names = ("Histogram", "Counter", "Gauge")
    return PrometheusObserver(
        SimpleNamespace(**{name: partial(getattr(prometheus_client, name), registry=registry) for name in names})
    )


def test_the_metrics_count_problems_and_read_the_depth_when_asked(
    registry: prometheus_client.CollectorRegistry, observer: PrometheusObserver
) -> None:
    async def scenario() -> None:
        observer("classify", 503, "overloaded", 0.0)
        observer.refresh()

    depth = [3]
    observer.queue_depth(lambda: depth[0])
    asyncio.run(scenario())
    depth[0] = 5
    assert registry.get_sample_value("toolkit_queue_depth") == 3
    assert registry.get_sample_value("toolkit_problems_total", {"route": "classify", "code": "overloaded"}) == 1


@pytest.mark.parametrize("few", [True, False])
def test_times_are_written_when_there_are_many_and_else_a_moment_later(
    registry: prometheus_client.CollectorRegistry, observer: PrometheusObserver, few: bool
) -> None:
    def written() -> float | None:
        return registry.get_sample_value("toolkit_request_seconds_count", {"route": "classify", "status": "200"})

    async def scenario() -> None:
        for _ in range(MOST_TIMES - few):
            observer("classify", 200, "", 0.001)
        if few:
            assert written() == 0
            async with asyncio.timeout(10 * WRITE_SECONDS):
                while not written():
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert written() == MOST_TIMES - few
    total = registry.get_sample_value("toolkit_request_seconds_sum", {"route": "classify", "status": "200"})
    assert total == pytest.approx(0.001 * (MOST_TIMES - few))
