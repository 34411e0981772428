"""How a command reaches a running server: one line of JSON each way over its unix socket.

::

    {"command": "swap", "folder": "/models/v2", "require_gate": true}
    {"ok": true, "served": {...}, "previous": {...}}          or {"ok": false, "error": "one line"}

The same without this toolkit's command line, in a container::

    python -m toolkit.serving.control swap /models/v2

Commands are status, swap, rollback, shadow and shadow-off. A swap that was asked for is finished
whether or not its sender waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from toolkit.errors import InputError, ToolkitError
from toolkit.serving.app import App
from toolkit.serving.choice import ChoiceFile
from toolkit.serving.lifecycle import SECONDS, Lifecycle
from toolkit.serving.place import bind, listening_address, own_folder, sockets_of
from toolkit.serving.served import Served
from toolkit.serving.successor import Demands, Refused

LOG = logging.getLogger("bentoml.toolkit")
LINE_BYTES = 1 << 16
LINE_SECONDS = 10.0
GATE_VARIABLE = "TOOLKIT_REQUIRE_GATE"
DEMANDS = tuple(field.name for field in fields(Demands))


class ControlServer:
    """Listens for the commands of one `Lifecycle`, on the event loop that it belongs to."""

    def __init__(self, lifecycle: Lifecycle, path: Path) -> None:
        self.lifecycle, self.path = lifecycle, path
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Listen; raises `OSError` where that is not possible."""
        listener = bind(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._converse, sock=listener, limit=LINE_BYTES)

    def stop(self) -> None:
        """Listen no more, and remove the socket unless another server has put its own there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), LINE_SECONDS)
            writer.write(json.dumps(await self._obey(line)).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):  # gone, silent, or a line without an end
            pass
        finally:
            writer.close()

    async def _obey(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **await self._do(line)}
        except ToolkitError as error:
            LOG.warning("refused: %s", error)
            return {"ok": False, "error": str(error)}
        except Exception as error:
            LOG.exception("a command failed")
            return {"ok": False, "error": f"the server failed: {type(error).__name__}; its log says where"}

    async def _do(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            command, folder = request["command"], request.get("folder", "")
            demands = {name: bool(request.get(name, False)) for name in DEMANDS}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Refused("a line with one JSON object and a command is expected") from None
        demands["require_gate"] |= os.environ.get(GATE_VARIABLE, "") not in ("", "0")
        if command in ("swap", "shadow"):
            if not isinstance(folder, str) or not Path(folder).is_absolute():
                raise Refused("the folder of an artifact is expected, as an absolute path")
            act = self.lifecycle.swap if command == "swap" else self.lifecycle.start_shadow
            return await act(folder, Demands(**demands))
        if command == "rollback":
            return await self.lifecycle.rollback()
        if command == "shadow-off":
            return self.lifecycle.stop_shadow()
        if command == "status":
            return self.lifecycle.facts()
        raise Refused("unknown command; known: status, swap, rollback, shadow, shadow-off")


class Control:
    """The lifecycle of a worker with its socket; without a place for one it serves all the same."""

    def __init__(self, front: App) -> None:
        self._server: ControlServer | None = None
        name, choices = listening_address(), ChoiceFile(None)
        try:
            folder = own_folder()
        except OSError as error:
            LOG.warning("no swap or rollback of this server: %s", error)
            self.lifecycle = Lifecycle(front)
            return
        choices = ChoiceFile(folder / f"{name}.json")
        self.lifecycle = Lifecycle(front, choices=choices)
        self._server = ControlServer(self.lifecycle, folder / f"{name}.sock")

    def start(self, original: Served) -> None:
        """Answer with `original`, or with what was swapped to before; then listen, on the running loop."""
        self.lifecycle.start(original)
        if self._server is not None:
            self._starting = asyncio.get_running_loop().create_task(self._listen(self._server))

    async def _listen(self, server: ControlServer) -> None:
        try:
            await server.start()
        except OSError as error:
            LOG.warning("no swap or rollback of this server: %s", error)

    def stop(self) -> None:
        """Listen no more and let go of what does not answer."""
        if self._server is not None:
            self._server.stop()
        self.lifecycle.close()


def ask(port: int | None, command: str, **options: Any) -> dict[str, Any]:
    """Send one command to the server on `port`, or to the only one there is, and return what it says.

    Raises `InputError` when no server is there, or several and none is named; `Refused` when it says no.
    """
    reply = json.loads(_exchange(port, json.dumps({"command": command, **options}).encode() + b"\n"))
    if not reply.pop("ok"):
        raise Refused(reply["error"])
    return dict(reply)


def _exchange(port: int | None, line: bytes) -> bytes:
    where = "" if port is None else f" on port {port}"
    live = []
    for path in sockets_of(port):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
            live.append((path, connection))
        except OSError:
            connection.close()  # nobody listens there any more
    try:
        if not live:
            raise InputError(f"no server of this user's is there{where}; start one with: toolkit serve")
        if len(live) > 1:
            raise InputError(f"several servers are there{where}: {', '.join(p.stem for p, _ in live)}; name its --port")
        connection = live[0][1]
        connection.settimeout(SECONDS + LINE_SECONDS)
        try:
            connection.sendall(line)
            with connection.makefile("rb") as stream:
                reply = stream.readline()
        except OSError as error:
            raise InputError(f"the server{where} did not answer: {error}") from None
        if not reply:
            raise InputError(f"the server{where} ended before it answered")
        return reply
    finally:
        for _, connection in live:
            connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m toolkit.serving.control`; the document goes to stdout, an error to stderr."""
    parser = argparse.ArgumentParser(prog="python -m toolkit.serving.control")
    parser.add_argument("command", choices=["status", "swap", "rollback", "shadow", "shadow-off"])
    parser.add_argument("folder", nargs="?", help="artifact folder, for swap and shadow")
    parser.add_argument("--port", type=int, help="port of the server, where there are several")
    for name in DEMANDS:
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true")
    found = vars(parser.parse_args(arguments))
    if (found["folder"] is not None) != (found["command"] in ("swap", "shadow")):
        parser.error("swap and shadow take a folder, the others none")
    if found["folder"] is not None:
        found["folder"] = str(Path(found["folder"]).resolve())
    try:
        document = ask(found.pop("port"), found.pop("command"), **found)
    except ToolkitError as error:
        sys.stderr.write(f"toolkit: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
