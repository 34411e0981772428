"""Start a server of an artifact folder or a bento: `bentoml serve` with the right surroundings.

`serve` becomes the server, for a terminal or a container; `start_server` runs one beside the caller,
on loopback, for the demo and tests, and stops it whole.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import toolkit
from toolkit.artifact import CORE, load_artifact
from toolkit.errors import InputError, ToolkitError, require
from toolkit.package import SERVICES, bento_store, services_folder
from toolkit.serving.keys import KEYS_VARIABLE, read_keys
from toolkit.serving.loading import FOLDER_VARIABLE, check_servable
from toolkit.serving.settings import variable
from toolkit.signing import require_signature

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 20.0
TAIL_LINES = 15


class ServerStartError(ToolkitError):
    """A server that did not become ready; the message ends with the tail of its log."""


@dataclass(frozen=True)
class Access:
    """Who may ask and how: a keys file (None: everybody), a certificate and its key (None: no TLS)."""

    keys: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def check(self) -> None:
        """Raise `InputError` unless the files are what they should be; a server that starts open must not surprise."""
        if self.keys is not None:
            read_keys(self.keys)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("TLS takes a certificate and its key: --tls-cert CERT.pem --tls-key KEY.pem")
        if self.tls_cert is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key)
            except OSError as error:  # SSLError is one
                reason = error.strerror or getattr(error, "reason", "") or "not a pair in PEM"
                raise InputError(f"{self.tls_cert} and {self.tls_key} cannot be used for TLS: {reason}") from None


OPEN = Access()


@dataclass(frozen=True)
class Launch:
    """A command and the environment it runs in."""

    command: tuple[str, ...]
    environment: dict[str, str]


def prepare(
    target: str | Path, *, host: str, port: int, threads: int, provider: str = "cpu", access: Access = OPEN
) -> Launch:
    """The command that serves `target`, an artifact folder, the folder of a bento, or a bento's tag.

    Raises `InputError` when it is none of them or `access` names files that cannot be used, `ArtifactError` when
    the artifact is not whole.
    """
    require("bentoml", extra="serve")
    access.check()
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", variable("threads"): str(threads)}
    if provider != "cpu":  # else what the environment says holds, as in a container
        environment[variable("provider")] = provider
    # BentoML sets it for its workers; one from outside would make two servers share their metrics
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    folder = Path(target).expanduser()
    if (folder / CORE).is_file():
        artifact = load_artifact(folder.resolve())
        require_signature(artifact)
        check_servable(artifact)
        artifact.verify()
        service = SERVICES[artifact.spec.task]
        source = services_folder() / service.folder
        what = [f"service:{service.name}", "--working-dir", str(source)]
        environment[FOLDER_VARIABLE] = str(artifact.folder)
        paths = [str(Path(toolkit.__file__).parents[1]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    elif (folder / "bento.yaml").is_file():
        what = [str(folder.resolve())]
    else:
        what = [_known_tag(str(target))]
    command = [sys.executable, "-m", "bentoml", "serve", *what, "--host", host, "--port", str(port)]
    if access.keys is not None:
        environment[KEYS_VARIABLE] = str(access.keys.resolve())
    if access.tls_cert is not None and access.tls_key is not None:
        # the server runs in another folder
        command += ["--ssl-certfile", str(access.tls_cert.resolve()), "--ssl-keyfile", str(access.tls_key.resolve())]
    return Launch(tuple(command), environment)


def serve(
    target: str | Path, *, host: str = LOOPBACK, port: int = 3000, threads: int = 1, provider: str = "cpu",
    access: Access = OPEN,
) -> NoReturn:  # fmt: skip
    """Become the server of `target`; raises as `prepare` does, and never returns."""
    launch = prepare(target, host=host, port=port, threads=threads, provider=provider, access=access)
    os.execvpe(launch.command[0], launch.command, launch.environment)


@contextmanager
def start_server(
    target: str | Path, *, port: int = 0, threads: int = 1, seconds: float = 90.0, log: Path | None = None
) -> Iterator[str]:
    """Run a server of `target` on loopback and yield its base URL once it is ready; stop it after.

    `port` 0 picks a free one; `log` keeps what the server says. Raises `ServerStartError` with the
    tail of its log when it ends early or is not ready within `seconds`.
    """
    with tempfile.TemporaryDirectory(prefix="toolkit-serve-") as temporary:
        chosen = port or free_port()
        launch = prepare(target, host=LOOPBACK, port=chosen, threads=threads)
        server = Server.start(launch, port=chosen, log=log or Path(temporary) / "server.log")
        try:
            server.wait_until_ready(seconds)
            yield server.url
        finally:
            server.stop()


@dataclass(frozen=True)
class Server:
    """A server process with its workers, and the file they write to."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    tls: bool = False

    @classmethod
    def start(cls, launch: Launch, *, port: int, log: Path) -> Server:
        """Start it and return at once."""
        with log.open("wb") as file:
            process = subprocess.Popen(
                launch.command, env=launch.environment, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return cls(process, port, log, tls="--ssl-certfile" in launch.command)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{self.port}"

    def wait_until_ready(self, seconds: float) -> None:
        """Ask /readyz until it says yes; raises `ServerStartError`."""
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            if (code := self.process.poll()) is not None:
                raise ServerStartError(f"the server ended with {code} before it was ready:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerStartError(f"the server was not ready within {seconds:g} s:\n{self.log_tail()}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=1.0)
        if self.tls:  # it asks itself, so whose certificate it is says nothing
            trusting = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(LOOPBACK, self.port, timeout=1.0, context=trusting)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def log_tail(self) -> str:
        """The last lines it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def stop(self) -> int:
        """SIGTERM, so that work in hand is finished; SIGKILL for whatever of it is left after 20 s."""
        psutil = require("psutil", extra="serve")
        # workers lead sessions of their own, so they are known by their parent, which must still be there
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        return self.process.wait()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def _known_tag(tag: str) -> str:
    name, _, version = tag.partition(":")
    found = bento_store() / name / (version or "latest")
    if not name or "/" in tag or not found.exists():
        raise InputError(f"{tag} is neither an artifact folder nor a bento in {bento_store()}; try: bentoml list")
    return tag
