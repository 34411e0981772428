"""Where servers are started for a row and ended after it, and the questions whose answers are known.

Expected answers come from the process's own `Predictor` on the same artifact: a server is never asked to
judge itself. A request "of about so many milliseconds" has as many rows as that takes here, so that one core can offer
ten times what another one serves.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.faults.row import NotHereError, Subject
from benchmarks.faults.traffic import READY, ask_once
from benchmarks.faults.victims import Family
from toolkit.artifact import Artifact, load_artifact
from toolkit.measure.load import Request, run_closed
from toolkit.predictor import Predictor
from toolkit.serving.serve import LOOPBACK, Access, Launch, Server, free_port, prepare

ROOT = Path(__file__).parents[2]
TEXTS = ("Who wrote Hamlet ?", "How many miles is it to the moon ?", "Where is Lisbon ?", "What is an atom ?")
MOST_ROWS = 256
SCORE_TOLERANCE = 1e-3
MOST_RATE = 1500.0  # what a generator on one core offers without being late itself
START_SECONDS, PATIENCE_SECONDS = 45.0, 12.0
PATHS = {"plain": "/classify"}


@dataclass(frozen=True)
class Running:
    """A server that answers, its processes, and how it is asked."""

    subject: Subject
    artifact: Artifact
    server: Server
    family: Family
    path: str
    home: Path
    ready_seconds: float

    def fits(self, subject: Subject, artifact: Artifact) -> bool:
        """Whether it is what `subject` asks for; plain BentoML has none of our settings."""
        return (
            (subject.kind, subject.switches) == (self.subject.kind, self.subject.switches)
            and artifact.digest == self.artifact.digest
            and (subject.kind == "plain" or subject.settings.items() <= self.subject.settings.items())
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.server.url

    @property
    def port(self) -> int:
        """The same, for sockets."""
        return self.server.port


class Stand:
    """One artifact, one folder, the cores for server and generator; `quick` shortens what can be shortened."""

    def __init__(self, artifact: Path, folder: Path, *, quick: bool = False, core: int | None = None) -> None:
        self.artifact, self.folder, self.quick, self.core = load_artifact(artifact.resolve()), folder, quick, core
        self._peaks: dict[tuple[Any, ...], float] = {}
        self.attacked: list[dict[str, Any]] = []  # what the attacks on artifacts found, once they were made
        self._started = 0
        self.kept: list[Running] = []  # servers that rows may share, started by whoever made the stand
        self._answers: dict[tuple[str, int], list[dict[str, Any]]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def seconds(self, full: float, quick: float) -> float:
        """How long something lasts in this form."""
        return quick if self.quick else full

    @cached_property
    def predictor(self) -> Predictor:
        """The artifact in this process."""
        return Predictor.load(self.artifact)

    @cached_property
    def small(self) -> Artifact:
        """A real model of microseconds a row, for what is not about the model."""
        made: Artifact = small_models().text_artifact(self.folder / "small")
        return made

    @cached_property
    def row_ms(self) -> float:
        """What a row costs in this process, encoding included."""
        rows = [TEXTS[i % len(TEXTS)] for i in range(16)]
        self.predictor(rows)
        started = time.perf_counter()
        for _ in range(5):
            self.predictor(rows)
        return (time.perf_counter() - started) * 1e3 / 80

    def requests(self, running: Running, *, ms: float | None = None, artifact: Artifact | None = None) -> list[Request]:
        """Questions with known answers: of one row, or of about `ms` milliseconds each."""
        rows = 1 if ms is None else max(1, min(MOST_ROWS, round(ms / self.row_ms)))
        found = []
        for first in range(len(TEXTS)):
            texts = [TEXTS[(first + i) % len(TEXTS)] for i in range(rows)]
            expected = self._expected(artifact or self.artifact, texts)
            found.append(Request(running.path, json.dumps({"inputs": texts}).encode(), check=checker(expected)))
        return found

    def _expected(self, artifact: Artifact, texts: Sequence[str]) -> list[dict[str, Any]]:
        key = (artifact.digest + texts[0], len(texts))
        if key not in self._answers:
            if artifact is self.artifact:
                found = self.predictor(texts)
            else:
                with Predictor.load(artifact) as predictor:
                    found = predictor(texts)
            self._answers[key] = [{"label": one.label, "score": one.score} for one in found]
        return self._answers[key]

    def peak(self, running: Running, requests: Sequence[Request]) -> float:
        """Right answers a second at sixteen connections; measured once for each kind of server and size of request."""
        key = (running.subject.kind, running.subject.switches, len(requests[0].body))
        if key not in self._peaks:
            seconds = self.seconds(3.0, 1.0)
            run_closed(running.url, requests, connections=4, seconds=0.3)
            self._peaks[key] = run_closed(running.url, requests, connections=16, seconds=seconds).rate()
        return self._peaks[key]

    def half(self, running: Running, requests: Sequence[Request]) -> float:
        """Half of the peak, at least one a second, at most what the generator can offer."""
        return max(1.0, min(self.peak(running, requests) / 2, MOST_RATE))

    @contextlib.contextmanager
    def serve(
        self,
        subject: Subject,
        *,
        artifact: Artifact | None = None,
        access: Access | None = None,
        environment: dict[str, str] | None = None,
        home: Path | None = None,
        until_ready: bool = True,
    ) -> Iterator[Running]:
        """Start `subject` on loopback, with a BENTOML_HOME of its own, and end all of it after.

        A kept server of this kind, artifact and settings is used instead, and left as it is.
        """
        chosen = artifact or self.artifact
        if access is None and environment is None and home is None and until_ready:
            for running in self.kept:
                if running.fits(subject, chosen):
                    yield running
                    return
        self._started += 1
        place = self.folder / f"{self._started:03d}-{subject.kind}"
        home = home or place / "home"
        home.mkdir(parents=True, exist_ok=True)
        place.mkdir(exist_ok=True)
        port = free_port()
        launch = self._launch(subject, chosen, port, access)
        own = {"BENTOML_HOME": str(home), "TMPDIR": str(home), "OMP_NUM_THREADS": "1", **subject.settings}
        command = launch.command if self.core is None else ("taskset", "-c", str(self.core), *launch.command)
        started = time.monotonic()
        server = Server.start(
            Launch(command, {**launch.environment, **own, **(environment or {})}), port=port, log=place / "server.log"
        )
        family = Family(server.process.pid)
        try:
            if until_ready:
                server.wait_until_ready(START_SECONDS)
            path = PATHS.get(subject.kind, "/v1/classify")
            yield Running(subject, chosen, server, family, path, home, time.monotonic() - started)
        finally:
            family.end(PATIENCE_SECONDS if subject.kind == "ours" else 2.0)
            server.process.wait()
            shutil.rmtree(home, ignore_errors=True)

    def _launch(self, subject: Subject, artifact: Artifact, port: int, access: Access | None) -> Launch:
        if subject.kind == "ours":
            return prepare(artifact.folder, host=LOOPBACK, port=port, threads=1, access=access or Access())
        environment = {
            **os.environ, "ARTIFACT": str(artifact.folder), "PORT": str(port), "PYTHONPATH": str(ROOT),
            "BENTOML_DO_NOT_TRACK": "True", "SABOTAGE": ",".join(subject.switches),
        }  # fmt: skip
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        if access is not None and access.keys is not None:
            environment["TOOLKIT_KEYS_FILE"] = str(access.keys)
        if subject.kind == "sabotaged":
            return Launch((sys.executable, "-m", "benchmarks.faults.sabotage"), environment)
        plain = ROOT / "benchmarks" / "peers"
        if not (plain / "plain_bentoml.py").is_file():
            raise NotHereError(f"{plain}/plain_bentoml.py, the plain BentoML service, is not there")
        command = [sys.executable, "-m", "bentoml", "serve", "plain_bentoml:Plain", "--working-dir", str(plain),
                   "--host", LOOPBACK, "--port", str(port)]  # fmt: skip
        return Launch(tuple(command), environment)


def checker(expected: Sequence[dict[str, Any]]) -> Callable[[bytes], bool]:
    """Whether a body says just these labels, with scores within rounding."""

    def check(body: bytes) -> bool:
        try:
            document = json.loads(body)
            rows = document if isinstance(document, list) else document["predictions"]
            return len(rows) == len(expected) and all(
                row["label"] == right["label"] and abs(row["score"] - right["score"]) <= SCORE_TOLERANCE
                for row, right in zip(rows, expected, strict=True)
            )
        except (ValueError, LookupError, TypeError):
            return False

    return check


def is_ready(port: int, *, timeout: float = 0.5) -> int:
    """The status of /readyz; 0 when it does not answer in time."""
    return ask_once(port, READY, timeout=timeout)


def small_models() -> Any:
    """The real small models of the tests, which lie outside every package."""
    return _from_tests("serving.small_models")


def bad_versions() -> Any:
    """The tests' makers of versions that must be refused."""
    return _from_tests("serving.versions")


def _from_tests(module: str) -> Any:
    import importlib

    place = str(ROOT / "tests")
    if place not in sys.path:
        sys.path.append(place)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NotHereError(f"{module} of the tests is not there: {error}") from None
