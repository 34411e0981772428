"""The container: what its process is, what it serves, that it ends with its worker, and its budget."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import _bentoml_impl.worker.service
import bentoml.serving
import httpx
import psutil
import pytest
from serving.small_models import TEXTS, image_artifact, recommender_artifact, text_artifact

from benchmarks.engines import Buildah, EngineError, Layer, layers_of
from benchmarks.image import check_budget
from toolkit.artifact import Artifact
from toolkit.package import Packaged, package, pinned_requirements
from toolkit.serving.contained import WORKER, choose_service
from toolkit.serving.serve import free_port

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return text_artifact(tmp_path_factory.mktemp("a") / "x")


@pytest.fixture(scope="module")
def packaged(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packaged]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("home")))
        yield package(artifact)


def start(command: list[str], bento: Path, tmp_path: Path, **extra: str) -> subprocess.Popen[bytes]:
    """A process as the container's, with nothing of this repository in its way."""
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(bento / "src"), "BENTOML_HOME": str(tmp_path / "home"),
        "BENTOML_CONTAINERIZED": "true", "BENTOML_DO_NOT_TRACK": "True", "TMPDIR": str(tmp_path), **extra,
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)


def contained(bento: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "toolkit.serving.contained", str(bento), "127.0.0.1", str(port)]


def wait_until_ready(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not ready: {log.read_text(errors='replace')[-2000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    family = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in family:
        if child.is_running():
            child.kill()


def test_the_process_is_the_worker_and_ends_when_it_is_killed(packaged: Packaged, tmp_path: Path) -> None:
    port = free_port()
    process = start(contained(packaged.path, port), packaged.path, tmp_path)
    try:
        wait_until_ready(port, tmp_path / "log")
        assert psutil.Process(process.pid).children() == [], "no supervisor, no other worker"
        assert WORKER in psutil.Process(process.pid).cmdline()
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/classify", json={"inputs": TEXTS})
        assert answer.status_code == 200
        process.send_signal(signal.SIGKILL)
        assert process.wait(3) == -signal.SIGKILL
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/livez", timeout=1)
    finally:
        end(process)


def test_sigterm_ends_it_with_nothing_left(packaged: Packaged, tmp_path: Path) -> None:
    port = free_port()
    process = start(contained(packaged.path, port), packaged.path, tmp_path)
    try:
        wait_until_ready(port, tmp_path / "log")
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        end(process)


def test_what_plain_bentoml_does_in_a_container_is_what_this_avoids(tmp_path: Path) -> None:
    """The control: its worker dies, its supervisor stays, and nobody starts another."""
    (tmp_path / "service.py").write_text(
        "import bentoml\n@bentoml.service(workers=1)\nclass Plain:\n"
        "    @bentoml.api\n    def hello(self) -> str:\n        return 'hello'\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "service:Plain", "--host", "127.0.0.1", "--port", str(port)]
    process = start(command, tmp_path, tmp_path)
    try:
        wait_until_ready(port, tmp_path / "log")
        (worker,) = [c for c in psutil.Process(process.pid).children(recursive=True) if WORKER in c.cmdline()]
        worker.send_signal(signal.SIGKILL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        living = [c for c in psutil.Process(process.pid).children() if c.status() != psutil.STATUS_ZOMBIE]
        assert living == []
    finally:
        end(process)


def test_the_command_of_a_worker_is_as_it_was() -> None:
    options = {option.name for option in _bentoml_impl.worker.service.main.params}
    assert {"bento_identifier", "fd"} <= options
    assert _bentoml_impl.worker.service.__name__ == WORKER
    assert "respawn=not running_inside_container()" in inspect.getsource(bentoml.serving.create_watcher)


def test_a_mounted_artifact_is_served_by_the_service_of_its_task(packaged: Packaged, tmp_path: Path) -> None:
    mounted = recommender_artifact(tmp_path / "mounted")
    port = free_port()
    process = start(contained(packaged.path, port), packaged.path, tmp_path, TOOLKIT_ARTIFACT=str(mounted.folder))
    try:
        wait_until_ready(port, tmp_path / "log")
        rows = [{"user": "1", "item": "10"}]
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/recommend", json={"inputs": rows}).json()
        assert answer["model"]["digest"] == mounted.digest
    finally:
        end(process)


def test_what_cannot_be_served_is_refused_in_one_line(packaged: Packaged, tmp_path: Path) -> None:
    assert choose_service(packaged.path, None) == packaged.path
    assert choose_service(packaged.path, "") == packaged.path
    image = image_artifact(tmp_path / "image")
    assert choose_service(packaged.path, str(image.folder)).name == "image"
    with pytest.raises(SystemExit, match="is no bento"):
        choose_service(tmp_path, None)
    with pytest.raises(SystemExit, match="no artifact that can be read"):
        choose_service(packaged.path, str(tmp_path))
    (tmp_path / "artifact.json").write_text('{"spec": {"task": "../../src"}}')
    with pytest.raises(SystemExit, match="known: image, recommend, text"):
        choose_service(packaged.path, str(tmp_path))


def test_the_budget_is_enforced() -> None:
    layers = [Layer("sha256:a", 900_000), Layer("sha256:b", 200_000)]
    assert check_budget(layers, 300) == pytest.approx(1.1)
    with pytest.raises(EngineError, match=r"1\.1 MB compressed; the budget is 1 MB"):
        check_budget(layers, 1)


def test_the_dockerfile_is_what_the_head_says() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in text
    assert "HEALTHCHECK" in text
    assert "--only-binary :all:" in text
    assert '! /opt/venv/bin/python -c "import torch"' in text
    assert text.rstrip().endswith('CMD ["python", "-m", "toolkit.serving.contained", "/bento", "0.0.0.0", "3000"]')


def test_the_target_gpu_swaps_the_runtime_for_the_same_version_with_cuda(tmp_path: Path) -> None:
    """Its line is run on the very requirements that a bento has."""
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [name for _, name in stages] == ["gpu-python", "gpu-build", "gpu", "build"], "the last one is for CPUs"
    assert "TOOLKIT_PROVIDER=gpu" in text
    (line,) = re.findall(r"^RUN (sed .*)$", text, re.MULTILINE)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(pinned_requirements()) + "\n")
    before = requirements.read_text()
    done = subprocess.run(["bash", "-ec", line.replace("/tmp/requirements.txt", str(requirements))], check=False)
    assert done.returncode == 0
    version = importlib.metadata.version("onnxruntime")
    assert requirements.read_text() == before.replace(f"onnxruntime=={version}", f"onnxruntime-gpu=={version}")
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert pinned["onnxruntime"] == pinned["onnxruntime-gpu"], "one line that exists for both"
    requirements.write_text("numpy==2.4.6\n")
    assert subprocess.run(
        ["bash", "-ec", line.replace("/tmp/requirements.txt", str(requirements))], check=False
    ).returncode


@pytest.mark.skipif(shutil.which("buildah") is None or os.geteuid() != 0, reason="needs buildah and root")
def test_buildah_builds_an_image_and_its_layers_are_measured(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY content /\nUSER 10001:10001\n")
    (tmp_path / "content").write_bytes(os.urandom(2_000_000))
    engine, tag = Buildah(), "localhost/toolkit-test:latest"
    try:
        engine.build(tmp_path, tag, dockerfile=tmp_path / "Dockerfile")
        layers = engine.layers(tag)
        assert sum(layer.compressed_bytes for layer in layers) > 1_900_000
        with pytest.raises(EngineError, match="the budget is 1 MB"):
            check_budget(layers, 1)
    finally:
        subprocess.run(
            ["buildah", "rmi", tag], env={**os.environ, **engine.environment}, capture_output=True, check=False
        )
    with pytest.raises(FileNotFoundError):
        layers_of(tmp_path)
