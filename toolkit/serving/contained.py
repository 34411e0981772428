"""The process of a container: BentoML's worker itself, as process 1, with no supervisor above it.

In a container `bentoml serve` stays up when its only worker dies, and the worker is never started
again. Here the program turns into the worker (`exec`), so when it dies the container ends with it and
whoever runs containers starts another. It also loads the service once instead of twice.

    python -m toolkit.serving.contained /bento 0.0.0.0 3000

serves the bento in that folder; with TOOLKIT_ARTIFACT=FOLDER a mounted artifact instead, by the
service of its task, which every bento of this toolkit carries. Nothing heavy is imported before.

Limits: one service, no other that it depends on, none of BentoML's deployment hooks and task queues:
the services of this toolkit have none. The command of the worker is not a documented interface;
tests/test_container.py fails when it moves.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

WORKER = "_bentoml_impl.worker.service"
ARTIFACT = "TOOLKIT_ARTIFACT"
SERVICES = "src/services"
BACKLOG = 2048


def choose_service(bento: Path, artifact: str | None) -> Path:
    """The folder to serve: `bento` itself, or the service in it for the task of `artifact`.

    Raises `SystemExit` with one line when there is no bento, no artifact, or no service for its task.
    """
    if not (bento / "bento.yaml").is_file():
        raise SystemExit(f"contained: {bento} is no bento; mount the folder that toolkit package prints")
    if not artifact:
        return bento
    try:
        task = json.loads((Path(artifact) / "artifact.json").read_bytes())["spec"]["task"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(f"contained: {ARTIFACT} names {artifact}, which is no artifact that can be read") from None
    # only names are compared, so a task cannot lead anywhere else
    known = sorted(path.name for path in (bento / SERVICES).glob("*") if (path / "service.py").is_file())
    if task not in known:
        raise SystemExit(f"contained: the artifact at {artifact} is for no known task; known: {', '.join(known)}")
    return bento / SERVICES / str(task)


def become_worker(bento: Path, host: str, port: int) -> NoReturn:
    """Listen, then turn into the worker that answers there; never returns."""
    service = choose_service(bento, os.environ.get(ARTIFACT))
    # the service module sees it and knows that it is in a worker
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": tempfile.mkdtemp(prefix="prometheus-")}
    listener = socket.create_server((host, port), backlog=BACKLOG)
    listener.set_inheritable(True)
    fd = str(listener.detach())
    os.chdir(service / "src" if (service / "src").is_dir() else service)
    os.execve(sys.executable, [sys.executable, "-m", WORKER, str(service), "--fd", fd], environment)


if __name__ == "__main__":
    if len(sys.argv) != 4 or not sys.argv[3].isdecimal():
        raise SystemExit("contained: give the folder of a bento, a host and a port")
    become_worker(Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]))
