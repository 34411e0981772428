"""A real bento, started by `bentoml serve` on loopback and asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import bentoml
import httpx
import psutil
import pytest
from serving.conftest import Running
from serving.small_models import TEXTS, picture

from toolkit.artifact import Artifact
from toolkit.errors import ArtifactError, InputError
from toolkit.predictor import Predictor
from toolkit.serving import serve
from toolkit.serving.seam import WORKER
from toolkit.serving.serve import Server, ServerStartError, free_port, prepare, start_server

CANARY = "canary-5d20c7"


def processes_of(server: Server) -> list[psutil.Process]:
    """The supervisor and its workers."""
    supervisor = psutil.Process(server.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def test_a_bento_answers_like_the_predictor(running: Running) -> None:
    answer = httpx.post(f"{running.server.url}/v1/classify", json={"inputs": TEXTS}).json()
    assert answer["model"]["digest"] == running.artifact.digest
    with Predictor.load(running.artifact) as predictor:
        assert answer["predictions"] == [{"label": p.label, "score": p.score} for p in predictor(TEXTS)]
    model = httpx.get(f"{running.server.url}/v1/model").json()
    assert model["lineage"]["steps"][0]["name"] == "export"


def test_the_thread_of_a_worker_s_connections_wakes_behind_its_runs(running: Running) -> None:
    worker = next(one for one in processes_of(running.server) if WORKER in one.cmdline())
    assert os.sched_getscheduler(worker.pid) == os.SCHED_BATCH


def test_bentoml_still_answers_behind(running: Running) -> None:
    url = running.server.url
    schema = httpx.get(f"{url}/docs.json").json()
    assert "/v1/classify" in schema["paths"]
    assert httpx.get(url).status_code == 200
    with bentoml.SyncHTTPClient(url) as client:
        assert client.classify(inputs=TEXTS[:1])["predictions"][0]["label"] == "DESC"


def test_bentoml_shows_our_metrics(running: Running) -> None:
    url = running.server.url
    httpx.post(f"{url}/v1/classify", json={"inputs": TEXTS})
    httpx.get(f"{url}/nothing/{CANARY}")
    text = httpx.get(f"{url}/metrics").text
    count = re.search(r'toolkit_request_seconds_count\{route="classify",status="200"\} (\S+)', text)
    assert count is not None
    assert float(count[1]) >= 1
    assert 'toolkit_request_seconds_bucket{le="0.0001",route="classify",status="200"}' in text
    assert 'toolkit_problems_total{code="not_found",route="other"}' in text
    assert CANARY not in text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (CANARY.encode(), {"content-type": "application/json"}, 400),
        (CANARY.encode(), {"content-type": CANARY}, 415),
        (json.dumps({"inputs": [{CANARY: CANARY}]}).encode(), {"content-type": "application/json"}, 422),
        (json.dumps({CANARY: 1}).encode(), {"content-type": "application/json", "x-note": CANARY}, 422),
    ],
)
def test_wrong_input_is_a_problem_document_and_reaches_no_log(
    running: Running, body: bytes, headers: dict[str, str], status: int
) -> None:
    url = f"{running.server.url}/v1/classify?{CANARY}=1" if status == 422 else f"{running.server.url}/v1/classify"
    response = httpx.post(url, content=body, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert CANARY not in response.text
    assert httpx.get(f"{running.server.url}/{CANARY}?{CANARY}").status_code == 404
    log = running.server.log.read_text()
    assert "initialized" in log
    assert CANARY not in log


def test_a_body_too_large_is_refused_from_its_length_alone(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_the_server_holds_no_torch_and_runs_uvloop(running: Running) -> None:
    processes = processes_of(running.server)
    assert len(processes) >= 2, "a supervisor and a worker"
    maps = [Path(f"/proc/{process.pid}/maps").read_text() for process in processes]
    assert not any("libtorch" in text or "/torch/" in text or "/transformers/" in text for text in maps)
    worker = [text for text in maps if "onnxruntime_pybind11_state" in text]
    assert len(worker) == 1
    assert "/uvloop/loop" in worker[0]
    assert "/httptools/parser" in worker[0]


def test_importing_a_service_imports_no_torch(running: Running) -> None:
    program = (
        "import sys, service\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'transformers', 'onnx', 'optimum'}))\n"
        "print(sys.modules['toolkit'].__file__)"
    )
    source = running.packaged.path / "src"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    none, place = done.stdout.splitlines()
    assert none == "[]"
    assert Path(place).is_relative_to(source), "the bento brings its own copy of the toolkit"


def test_an_artifact_folder_is_served_and_sigterm_stops_it_whole(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    port = free_port()
    launch = prepare(artifacts["image"].folder, host="127.0.0.1", port=port, threads=2)
    server = Server.start(launch, port=port, log=tmp_path / "log")
    try:
        server.wait_until_ready(90)
        form = httpx.post(f"{server.url}/v1/classify", files={"image": ("a.png", picture(5), "image/png")}).json()
        with Predictor.load(artifacts["image"]) as predictor:
            assert form["predictions"] == [{"label": p.label, "score": p.score} for p in predictor([picture(5)])]
        assert httpx.get(f"{server.url}/v1/model").json()["settings"]["threads"] == 2
        folders = list((tmp_path / "home").glob("prometheus_multiproc_dir*"))
        assert len(folders) == 1, "a metrics folder of its own"
        family = processes_of(server)
        assert len(family) >= 2, "a supervisor and a worker"
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(20) == 0
        _, alive = psutil.wait_procs(family[1:], timeout=5)
        assert alive == []
        assert not folders[0].exists()
        assert "Traceback" not in server.log.read_text()
    finally:
        server.stop()


def test_start_server_yields_a_url_and_ends_what_it_started(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    rows = [{"user": "1", "item": "10"}, {"user": "2", "item": "20"}]
    with start_server(artifacts["recommend"].folder) as url:
        answer = httpx.post(f"{url}/v1/recommend?top=1", json={"inputs": rows}).json()
        assert len(answer["predictions"]) == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/readyz")


def test_a_server_that_cannot_start_shows_its_log(
    artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKIT_MAX_ROWS", "none")
    monkeypatch.setattr(serve, "STOP_SECONDS", 5.0)
    with pytest.raises(ServerStartError, match="TOOLKIT_MAX_ROWS"), start_server(artifacts["text"].folder, seconds=6):
        pass


def test_a_killed_supervisor_leaves_no_worker_when_it_is_stopped(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(serve, "STOP_SECONDS", 0.5)
    port = free_port()
    launch = prepare(artifacts["text"].folder, host="127.0.0.1", port=port, threads=1)
    server = Server.start(launch, port=port, log=tmp_path / "log")
    try:
        server.wait_until_ready(90)
        family = processes_of(server)
        server.process.send_signal(signal.SIGSTOP)  # it will not hear SIGTERM
    finally:
        server.stop()
    _, alive = psutil.wait_procs(family[1:], timeout=5)
    assert alive == []


def test_a_wrong_target_is_refused_before_anything_starts(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    for target in ("nothing:1", str(tmp_path / "nowhere"), ""):
        with pytest.raises(InputError, match="neither an artifact folder nor a bento"):
            prepare(target, host="127.0.0.1", port=3000, threads=1)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "artifact.json").write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        prepare(broken, host="127.0.0.1", port=3000, threads=1)
