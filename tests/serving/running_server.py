"""Our web server around an open application, in a thread, on a loopback port of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from toolkit.runners.cancel import Cancel
from toolkit.serving.app import App
from toolkit.serving.keys import Keys
from toolkit.serving.loading import load_served
from toolkit.serving.settings import Settings
from toolkit.serving.worker import FrontedConfig, FrontedServer
from toolkit.spec import Array, Arrays

BODY = b'{"inputs": ["who"]}'


@dataclass(frozen=True)
class Told:
    """What the listener of an application was told, in order: route, status, code; beside it the seconds."""

    events: list[tuple[str, int, str]]
    seconds: list[float] = field(default_factory=list)

    def __call__(self, route: str, status: int, code: str, seconds: float) -> None:
        self.events.append((route, status, code))
        self.seconds.append(seconds)


@dataclass(frozen=True)
class Here:
    """A server, its application, and what its listener was told."""

    port: int
    app: App
    server: FrontedServer
    told: Told

    def connect(self, *, seconds: float = 10.0) -> socket.socket:
        """A connection that gives up after `seconds`."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def ask(self, content: bytes) -> bytes:
        """Send bytes and read until the server closes; half-closing would end the request."""
        with self.connect() as connection:
            connection.sendall(content)
            return until_closed(connection)


class Gate:
    """Lets the runs of a server wait: while it is shut, one request takes the slot and the next ones the queue."""

    def __init__(self, here: Here) -> None:
        assert here.app.served is not None
        self._runner = here.app.served.predictor.runner
        self._run = self._runner.run
        self._open = threading.Event()

    def __enter__(self) -> Gate:
        def run(arrays: Arrays, cancel: Cancel | None = None) -> Array:
            self._open.wait(20)
            return self._run(arrays, cancel)

        self._runner.run = run  # type: ignore[method-assign]
        return self

    def open(self) -> None:
        self._open.set()

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._runner.run = self._run  # type: ignore[method-assign]


def until_closed(connection: socket.socket) -> bytes:
    """Everything until the end, also when the end is a reset."""
    parts = []
    while True:
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def one_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer, by its Content-Length; the connection stays as it is."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return int(head.split(b" ")[1]), body


def post(body: bytes = BODY, *headers: bytes, path: bytes = b"/v1/classify", length: int | None = None) -> bytes:
    """A POST of JSON as bytes."""
    lines = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-type: application/json", *headers]
    lines.append(b"content-length: %d" % (len(body) if length is None else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextmanager
def serving(folder: Path, *, keys: Keys | None = None, tls: tuple[Path, Path] | None = None, **settings: Any
            ) -> Iterator[Here]:  # fmt: skip
    """Serve an artifact; `settings` are those of `Settings`."""
    told = Told([])
    limits = Settings(**settings)
    app = App(settings=limits, observe=told, keys=keys)
    app.open(load_served(folder, settings=limits))
    listener = socket.create_server(("127.0.0.1", 0))
    secure: dict[str, Any] = {} if tls is None else {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1])}
    config = FrontedConfig(app, log_config=None, timeout_keep_alive=5, server_header=False, **secure)
    server = FrontedServer(config)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Here(port, app, server, told)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
