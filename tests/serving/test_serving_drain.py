"""Real servers, told to end or killed: what is in flight is finished, what is dead is replaced, what is broken ends."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from serving.running_server import BODY

from toolkit.artifact import Artifact
from toolkit.serving.serve import LOOPBACK, Launch, Server, free_port, prepare
from toolkit.serving.supervisor import MOST_YOUNG_DEATHS


class Starter:
    """Starts servers of the text model, each with its own BENTOML_HOME, and stops them all."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder, self._home = folder, home
        self._started: list[Server] = []

    def __call__(self, *, folder: Path | None = None, **environment: str) -> Server:
        port = free_port()
        launch = prepare(folder or self._folder, host=LOOPBACK, port=port, threads=1)
        surroundings = {**launch.environment, "BENTOML_HOME": str(self._home), **environment}
        log = self._home / f"log{len(self._started)}"
        server = Server.start(Launch(launch.command, surroundings), port=port, log=log)
        self._started.append(server)
        server.wait_until_ready(60)
        return server

    def stop(self) -> None:
        for server in self._started:
            server.stop()


@pytest.fixture
def start(artifacts: dict[str, Artifact], tmp_path: Path) -> Iterator[Starter]:
    """Servers of one test."""
    starter = Starter(artifacts["text"].folder, tmp_path)
    yield starter
    starter.stop()


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests whose worker comes back; the last of them ends it."""
    starter = Starter(artifacts["text"].folder, tmp_path_factory.mktemp("shared"))
    yield starter(TOOLKIT_DRAIN_SECONDS="0.2")
    starter.stop()


def worker_of(server: Server) -> psutil.Process:
    """The one worker, known by its parent."""
    children: list[psutil.Process] = psutil.Process(server.process.pid).children()
    assert len(children) == 1
    return children[0]


def ask_until_refused(port: int, outcomes: Counter[str], stop: threading.Event) -> None:
    """Requests over kept connections, one after another, until nobody listens any more."""
    connection: http.client.HTTPConnection | None = None
    while not stop.is_set():
        if connection is None:
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
            try:
                connection.connect()
            except ConnectionRefusedError:
                outcomes["refused"] += 1
                return
        try:
            connection.request("POST", "/v1/classify", BODY, {"content-type": "application/json"})
            response = connection.getresponse()
            whole = len(response.read()) == int(response.headers["content-length"])
        except (OSError, http.client.HTTPException) as error:
            outcomes[f"lost: {type(error).__name__}"] += 1
            connection = None
            continue
        outcomes[f"{response.status}" if whole else "torn"] += 1
        if response.headers.get("connection") == "close":
            outcomes["asked to close"] += 1
            connection.close()
            connection = None


def status_of_readyz(port: int) -> int:
    """Over a connection of its own; httpx would take half a second among sixteen busy threads."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


def test_sigterm_under_load_loses_nothing(start: Starter) -> None:
    server = start(TOOLKIT_DRAIN_SECONDS="2")
    outcomes: Counter[str] = Counter()
    stop = threading.Event()
    clients = [threading.Thread(target=ask_until_refused, args=(server.port, outcomes, stop)) for _ in range(16)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.25)
    ready = status_of_readyz(server.port)  # the listener is still open, and says that it will not be
    try:
        assert server.process.wait(10) == 0
    finally:
        stop.set()
        for client in clients:
            client.join(20)
    assert ready == 503
    assert set(outcomes) == {"200", "asked to close", "refused"}, outcomes
    assert outcomes["200"] > 100
    assert outcomes["asked to close"] > 16
    assert outcomes["refused"] == 16
    assert "Traceback" not in server.log.read_text()


def test_a_second_signal_ends_it_at_once(start: Starter) -> None:
    server = start(TOOLKIT_DRAIN_SECONDS="30")
    worker = worker_of(server)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert server.process.poll() is None
    assert worker.is_running()
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(5)
    assert time.monotonic() - started < 4
    assert psutil.wait_procs([worker], timeout=2)[1] == []


def test_the_control_socket_is_nobody_elses(server: Server) -> None:
    supervisor = psutil.Process(server.process.pid)
    listening = [item.laddr.port for item in supervisor.net_connections("inet") if item.status == psutil.CONN_LISTEN]
    assert listening == [server.port]
    sockets = [Path(item.laddr) for item in supervisor.net_connections("unix") if "toolkit-control-" in str(item.laddr)]
    assert sockets
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in sockets)


def test_a_killed_worker_is_replaced_and_nobody_is_told_ready_meanwhile(server: Server) -> None:
    worker = worker_of(server)
    worker.kill()
    started = time.monotonic()
    assert psutil.wait_procs([worker], timeout=5)[1] == []
    told: Counter[int] = Counter()
    while 200 not in told and time.monotonic() - started < 20:
        answer = httpx.get(f"{server.url}/readyz", timeout=5)  # every probe is answered
        told[answer.status_code] += 1
        if answer.status_code == 503 and told[503] == 1:
            assert answer.json()["code"] == "not_ready"
            assert answer.headers["retry-after"] == "1"
            assert httpx.post(f"{server.url}/v1/classify", json={"inputs": ["who"]}, timeout=5).status_code == 503
    took = time.monotonic() - started
    assert took < 10, took  # the bar of 3 s is for a machine that does nothing else: see benchmarks
    assert set(told) == {503, 200}
    assert told[503] > 5, "while the next worker loads, and not only in the end"
    assert worker_of(server).pid != worker.pid
    assert httpx.post(f"{server.url}/v1/classify", json={"inputs": ["who"]}).status_code == 200


def test_a_worker_that_is_told_to_end_is_replaced_without_a_refusal(server: Server) -> None:
    worker = worker_of(server)
    worker.terminate()
    worker.wait(10)
    with socket.create_connection((LOOPBACK, server.port), timeout=20) as early:
        early.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert early.recv(100).startswith(b"HTTP/1.1 200 ")


def test_workers_that_die_young_are_not_started_for_ever(server: Server) -> None:
    killed: set[int] = set()
    deadline = time.monotonic() + 30
    while server.process.poll() is None and time.monotonic() < deadline:
        for child in psutil.Process(server.process.pid).children():
            if child.pid not in killed:
                killed.add(child.pid)
                child.kill()
        time.sleep(0.05)
    assert server.process.wait(1) == 1
    assert 1 < len(killed) <= MOST_YOUNG_DEATHS, "the deaths of the tests before count too"
    assert "no other is started" in server.log_tail()


def test_a_worker_that_cannot_start_again_ends_the_server_with_its_error(
    start: Starter, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(artifacts["text"].folder, folder)
    server = start(folder=folder)
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    worker_of(server).kill()
    assert server.process.wait(20) not in (0, None)
    tail = server.log_tail()
    assert "model.onnx" in tail
    assert "is not started again" in tail
    assert "No active process" not in tail


def test_in_a_container_the_server_ends_with_its_worker(start: Starter) -> None:
    server = start(BENTOML_CONTAINERIZED="true")
    worker_of(server).kill()
    assert server.process.wait(3) == 1
    assert "Traceback" not in server.log_tail()
