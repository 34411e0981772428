"""Trials over an existing Ray cluster: nodes train, this machine measures, judges and decides.

A node gets everything it needs in the call (the model's files, the data, what other trials had reached, so that
it can give up), and returns the trained network's files; no shared disk is assumed, only the toolkit installed there.
Latency is of this machine, so shapes are measured and artifacts exported here. Resources, retries and placement are
Ray's: there is no scheduler of our own. A trial whose node is lost is trained by this machine.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from toolkit.artifact import load_artifact
from toolkit.data import Data
from toolkit.errors import InputError, require
from toolkit.optimize.effort import EFFORTS, Effort
from toolkit.optimize.policy import give_up
from toolkit.optimize.trial import Point, Trial
from toolkit.optimize.workshop import GivenUpError, Workshop

if TYPE_CHECKING:
    from toolkit.optimize.search import Job, Search

LOCAL = "local"
SECONDS_TO_KNOCK = 5.0


class Cluster:
    """Room for trials on the cluster at `address` ("local": one that is started here for this search)."""

    def __init__(self, address: str, search: Search) -> None:
        self._ray = require("ray", extra="ray")
        self._search = search
        check_reachable(address)
        try:
            options: dict[str, Any] = {} if address == LOCAL else {"address": address}
            self._ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"no Ray cluster answers at {address!r}: {str(error).splitlines()[0]}") from None
        self._threads = search.workshop.threads
        self._slots = max(1, int(self._ray.cluster_resources().get("CPU", 1)) // self._threads)
        self._jobs: dict[Any, Job] = {}
        artifact = search.workshop.artifact
        files = {path.relative_to(artifact.folder).as_posix(): path.read_bytes()
                 for path in sorted(artifact.folder.rglob("*")) if path.is_file()}  # fmt: skip
        self._model, self._data = self._ray.put(files), self._ray.put(search.workshop.data)
        self._train = self._ray.remote(num_cpus=self._threads, max_retries=1)(train_there)

    @property
    def has_room(self) -> bool:
        """True while another trial would be trained at once."""
        return len(self._jobs) < self._slots

    @property
    def busy(self) -> bool:
        """True while a trial is being trained."""
        return bool(self._jobs)

    def submit(self, job: Job) -> None:
        """Train `job` somewhere; a start from an earlier net travels along as files."""
        start = None if job.start is None else {p.relative_to(job.start).as_posix(): p.read_bytes()
                                                for p in sorted(job.start.rglob("*")) if p.is_file()}  # fmt: skip
        rivals = list(self._search.trials) if job.effort == "short" else []
        reference = self._train.remote(
            self._model, self._data, job, start, rivals, dict(EFFORTS), self._search.workshop.seed, self._threads
        )
        self._jobs[reference] = job

    def collect(self) -> Job:
        """Wait for the next trained job and put its files where the workshop finds them.

        A job that was given up is noted in the workshop, which says so when it is asked to make it.
        """
        (ready,), _ = self._ray.wait(list(self._jobs), num_returns=1)
        job = self._jobs.pop(ready)
        try:
            files, curve, reason = self._ray.get(ready)
        except self._ray.exceptions.RayError:
            return job  # its node is gone: the workshop trains it here
        self._search.workshop.receive(job.plan, job.effort, job.start, files, curve, reason)
        return job

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ray.shutdown()


def train_there(
    model: dict[str, bytes], data: Data, job: Job, start: dict[str, bytes] | None, rivals: list[Trial],
    efforts: dict[str, Effort], seed: int, threads: int,
) -> tuple[dict[str, bytes], tuple[Point, ...], str | None]:  # fmt: skip
    """Runs on a node: the files of the trained network, its curve, and why it was given up, if it was."""
    EFFORTS.update(efforts)  # as long as the machine that asks would train it
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _unpack(model, folder / "model")
        if start is not None:
            _unpack(start, folder / "start")
        workshop = Workshop(load_artifact(folder / "model"), data, folder / "work", seed=seed, threads=threads)
        rows = len(data.split("validation"))
        try:
            trained, curve = workshop.train(
                job.plan, effort=job.effort, start=folder / "start" if start is not None else None,
                watch=lambda curve: give_up(job.shape, curve, rivals, rows),
            )  # fmt: skip
        except GivenUpError as stop:
            return {}, stop.curve, str(stop)
        files = {p.relative_to(trained.folder).as_posix(): p.read_bytes()
                 for p in sorted(trained.folder.rglob("*")) if p.is_file()}  # fmt: skip
        return files, curve, None


def check_reachable(address: str) -> None:
    """Raise `InputError` at once where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "local", "auto": nothing to knock at
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_KNOCK).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster answers at {address!r}: {error}; start one with ray start --head") from None


def _unpack(files: dict[str, bytes], folder: Path) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
