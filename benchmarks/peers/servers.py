"""How each server is started, asked and understood; environments of peers are made here from their locks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import ToolkitError, require
from toolkit.measure.load import Request, run_closed
from toolkit.predictor import Prediction
from toolkit.serving.serve import LOOPBACK, Launch, Server, free_port, prepare

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".cache" / "peers"
SCORE_TOLERANCE = 1e-3
START_SECONDS = 90.0


class PeerUnavailableError(ToolkitError):
    """A peer that could not be installed or started; the message is its own words."""


@dataclass(frozen=True)
class Peer:
    """`file` is run by the Python of `environment` ("" is ours); `ours` is started as `toolkit serve` starts it."""

    name: str
    words: str
    file: str = ""
    environment: str = ""
    path: str = "/v1/classify"
    settings: dict[str, str] = field(default_factory=dict)
    protocol: bool = False  # Open Inference Protocol instead of {"inputs": [...]}
    alone: bool = True  # measured in the long phases too
    ours: bool = False
    bento: str = ""

    def request(self, text: str, expected: Prediction) -> Request:
        """Ask one text; right is the process's own label, and its score within rounding."""
        if self.protocol:
            tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
            body: dict[str, Any] = {"inputs": [tensor]}
        else:
            body = {"inputs": [text]}

        def check(content: bytes) -> bool:
            try:
                label, score = self._read(json.loads(content))
            except (ValueError, LookupError, TypeError):
                return False
            return bool(label == expected.label and abs(score - expected.score) <= SCORE_TOLERANCE)

        return Request(self.path, json.dumps(body).encode(), check=check)

    def _read(self, document: Any) -> tuple[str, float]:
        if self.protocol:
            columns = {output["name"]: output["data"] for output in document["outputs"]}
            return columns["label"][0], columns["score"][0]
        row = (document if isinstance(document, list) else document["predictions"])[0]
        return row["label"], row["score"]


BATCH16 = {"BATCH": "16", "BATCH_SECONDS": "0.005"}
OURS, BARE, BENTOML = "toolkit serve", "bare uvicorn", "BentoML"
PEERS = (
    Peer(BARE, "ASGI on uvicorn, uvloop, httptools, orjson; inline, nothing checked", "bare.py"),
    Peer(OURS, "this toolkit, as it comes", ours=True),
    Peer("toolkit serve, batching off", "this toolkit", ours=True, settings={"TOOLKIT_BATCHING": "off"}, alone=False),
    Peer(BENTOML, "batchable API, defaults", bento="plain_bentoml:Plain", path="/classify"),
    Peer("FastAPI", "pydantic models, uvloop, httptools; inline", "fastapi/server.py", "fastapi", path="/classify"),
    Peer("LitServe", "defaults, batching off", "litserve/server.py", "litserve", path="/predict"),
    Peer(
        "LitServe, batches of 16", "waits up to 5 ms for company", "litserve/server.py", "litserve", path="/predict",
        settings=BATCH16, alone=False,
    ),
    Peer(
        "MLServer", "defaults, in its own process, batching off", "mlserver/server.py", "mlserver",
        path="/v2/models/model/infer", protocol=True,
    ),
    Peer(
        "MLServer, batches of 16", "adaptive batching, up to 5 ms", "mlserver/server.py", "mlserver",
        path="/v2/models/model/infer", protocol=True, settings=BATCH16, alone=False,
    ),
)  # fmt: skip
EMPTY = Peer("no model", "bare uvicorn answering a constant: HTTP and the generator alone", "bare.py",
             settings={"EMPTY": "1"})  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A peer that answers."""

    peer: Peer
    server: Server
    url: str
    start_seconds: float  # to the first right answer

    def memory_mb(self) -> dict[str, float]:
        """Resident and proportional set size of all its processes (shared pages counted once in the latter)."""
        found = [process.memory_full_info() for process in _family(self.server)]
        return {
            "processes": len(found),
            "rss_mb": sum(one.rss for one in found) / 1e6,
            "pss_mb": sum(one.pss for one in found) / 1e6,
        }

    def processor_seconds(self) -> float:
        """What all its processes have used so far."""
        times = [process.cpu_times() for process in _family(self.server)]
        return float(sum(one.user + one.system for one in times))

    def pause(self) -> None:
        """Stop its processes where they are: some servers use an eighth of a core while nobody asks anything."""
        for process in _family(self.server):
            process.suspend()

    def resume(self) -> None:
        """Let them go on."""
        for process in _family(self.server):
            process.resume()


def _family(server: Server) -> list[Any]:
    """Its process and all that descend from it; none when it has ended."""
    psutil = require("psutil", extra="serve")
    try:
        main = psutil.Process(server.process.pid)
        return [main, *main.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def python_of(environment: str) -> Path:
    """The Python of a peer's environment, made from its locked requirements if it is not there or they changed.

    Raises `PeerUnavailableError` with the last line of what pip said.
    """
    if not environment:
        return Path(sys.executable)
    lock = HERE / environment / "requirements.txt"
    folder = ENVIRONMENTS / environment / "venv"
    digest, mark = hashlib.sha256(lock.read_bytes()).hexdigest(), folder / "requirements.sha256"
    python = folder / "bin" / "python"
    if mark.is_file() and mark.read_text() == digest:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "-r", str(lock)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise PeerUnavailableError(f"{environment} cannot be installed: {said}")
    mark.write_text(digest)
    return python


@contextlib.contextmanager
def running(
    peer: Peer,
    artifact: Path,
    requests: Sequence[Request],
    *,
    core: int | None,
    folder: Path,
    objective_ms: float | None = None,
) -> Iterator[Running]:
    """Start `peer` around `artifact` on one core, wait until it answers right, stop it after.

    Without `objective_ms` ours has the objective it comes with, a second, which refuses none of a few connections.
    Raises `PeerUnavailableError` when it cannot be installed, ends early or does not answer right in 90 s.
    """
    port = free_port()
    launch = _launch(peer, artifact, port, folder, objective_ms)
    if core is not None:
        launch = Launch(("taskset", "-c", str(core), *launch.command), launch.environment)
    started = time.monotonic()
    name = "".join(letter if letter.isalnum() else "-" for letter in peer.name)
    server = Server.start(launch, port=port, log=folder / f"{name}-{port}.log")
    try:
        while not _answers(server, requests):
            if server.process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise PeerUnavailableError(f"{peer.name} does not answer right; it said: {server.log_tail()[-600:]}")
            time.sleep(0.1)
        yield Running(peer, server, server.url, time.monotonic() - started)
    finally:
        for process in _family(server):  # a stopped process does not hear that it shall end
            process.resume()
        server.stop()


def _answers(server: Server, requests: Sequence[Request]) -> bool:
    right = run_closed(server.url, requests[:1], connections=1, seconds=0.01, timeout=2.0).right
    return bool(len(right) and right.all())


def _launch(peer: Peer, artifact: Path, port: int, folder: Path, objective_ms: float | None) -> Launch:
    own = {**peer.settings, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    if peer.ours:
        if objective_ms is not None:
            own["TOOLKIT_OBJECTIVE_MS"] = f"{objective_ms:g}"
        launch = prepare(artifact, host=LOOPBACK, port=port, threads=1)
        return Launch(launch.command, {**launch.environment, **own})
    environment = {
        **os.environ, **own, "ARTIFACT": str(artifact), "PORT": str(port), "PYTHONPATH": str(ROOT),
        "BENTOML_DO_NOT_TRACK": "True", "GRPC_PORT": str(free_port()), "METRICS_PORT": str(free_port()),
    }  # fmt: skip
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if peer.bento:
        # two of them in one BENTOML_HOME would wipe each other's metrics
        environment["BENTOML_HOME"] = str(folder / f"bentoml-{port}")
        command = [sys.executable, "-m", "bentoml", "serve", peer.bento, "--working-dir", str(HERE),
                   "--host", LOOPBACK, "--port", str(port)]  # fmt: skip
        return Launch(tuple(command), environment)
    return Launch((str(python_of(peer.environment)), str(HERE / peer.file)), environment)
