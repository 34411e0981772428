"""Commands reach a running server over its own unix socket and nothing else does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from serving.small_models import TEXTS, text_artifact
from serving.versions import Running, answers_of, identity, serving, write_verdict

import toolkit
from toolkit.artifact import Artifact
from toolkit.cli import run
from toolkit.errors import InputError
from toolkit.serving import place
from toolkit.serving.control import LINE_BYTES, ControlServer, ask
from toolkit.serving.serve import Server, free_port, prepare
from toolkit.serving.successor import Refused


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    root = tmp_path_factory.mktemp("pair")
    return text_artifact(root / "a"), text_artifact(root / "b", weight=-2.0)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder, since a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tk-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("TMPDIR", folder)  # servers of somebody else's are not looked at
        monkeypatch.delenv("TOOLKIT_REQUIRE_GATE", raising=False)
        yield Path(folder)


@contextmanager
def controlled(folder: Path, *, host: str = "127.0.0.1") -> Iterator[tuple[Running, ControlServer]]:
    """A server with its control socket, named by its port."""
    with serving(folder) as running:
        server = ControlServer(running.lifecycle, place.own_folder() / f"{host}-{running.port}.sock")
        running.do(server.start())
        try:
            yield running, server
        finally:
            running.call(server.stop)


def spoken(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(line)
        with connection.makefile("rb") as stream:
            return stream.readline()


def served(running: Running) -> Any:
    url = f"http://127.0.0.1:{running.port}/v1/classify"
    return httpx.post(url, json={"inputs": TEXTS}).json()


def test_commands_of_the_line_swap_shadow_and_roll_back(
    pair: tuple[Artifact, Artifact], runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with controlled(pair[0].folder) as (running, _):
        port = str(running.port)

        def command(*words: str) -> Any:
            assert run([*words, "--port", port, "--json"]) == 0
            return json.loads(capsys.readouterr().out)

        assert command("shadow", str(pair[1].folder))["shadow"]["served"] == identity(pair[1])
        assert command("shadow", "--status")["shadow"]["rows"] == 0
        assert command("shadow", "--off")["shadow"]["served"] == identity(pair[1])
        assert command("swap", str(pair[1].folder))["served"] == identity(pair[1])
        assert served(running)["predictions"] == answers_of(pair[1])
        assert command("rollback")["served"] == identity(pair[0])
        assert served(running)["predictions"] == answers_of(pair[0])
        assert run(["rollback"]) == 0  # the only server there is
        table = capsys.readouterr().err
        assert "served" in table
        assert pair[1].digest[:12] in table


def test_a_refusal_is_one_line_and_exit_1_and_no_server_is_exit_2(
    pair: tuple[Artifact, Artifact], runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    with controlled(pair[0].folder) as (running, _):
        port = str(running.port)
        assert run(["swap", str(tmp_path / "nothing"), "--port", port]) == 1
        assert "artifact.json" in capsys.readouterr().err
        assert run(["swap", str(pair[1].folder), "--require-gate", "--port", port]) == 1
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert "no verdict" in captured.err
        assert run(["swap", str(pair[1].folder), "--port", "1"]) == 2
        assert served(running)["model"] == identity(pair[0])
    for words in (["swap", str(pair[1].folder)], ["rollback"], ["shadow", "--status"]):
        assert run([*words, "--port", port]) == 2
        assert f"no server of this user's is there on port {port}" in capsys.readouterr().err
    assert run(["shadow"]) == 2
    assert run(["shadow", "--off", "--status"]) == 2


def test_the_gate_can_be_demanded_of_every_swap(
    pair: tuple[Artifact, Artifact], runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = text_artifact(tmp_path / "judged", weight=3.0)
    write_verdict(judged, failed=False)
    monkeypatch.setenv("TOOLKIT_REQUIRE_GATE", "1")
    with controlled(pair[0].folder) as (running, _):
        with pytest.raises(Refused, match="no verdict"):
            ask(running.port, "swap", folder=str(pair[1].folder))
        assert ask(running.port, "swap", folder=str(judged.folder))["served"] == identity(judged)


def test_it_works_without_our_command_line(pair: tuple[Artifact, Artifact], runtime: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(toolkit.__file__).parents[1])}

    def module(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "toolkit.serving.control", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with controlled(pair[0].folder) as (running, _):
        done = module("swap", str(pair[1].folder))
        assert json.loads(done.stdout)["served"] == identity(pair[1]), done.stderr
        assert served(running)["model"] == identity(pair[1])
        assert module("swap", "--port", str(running.port)).returncode == 2
        assert json.loads(module("rollback", "--port", str(running.port)).stdout)["served"] == identity(pair[0])
        assert json.loads(module("status").stdout)["previous"] == identity(pair[1])
    done = module("status")
    assert done.returncode == 2
    assert "no server" in done.stderr


def test_the_socket_is_its_owner_s_alone_and_goes_with_the_server(
    pair: tuple[Artifact, Artifact], runtime: Path
) -> None:
    with controlled(pair[0].folder) as (_, server):
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
        assert server.path.parent == runtime / "toolkit"
        assert [path.name for path in server.path.parent.iterdir()] == [server.path.name]
    assert not server.path.exists()


def test_nothing_of_it_is_reachable_over_http(pair: tuple[Artifact, Artifact], runtime: Path) -> None:
    with controlled(pair[0].folder) as (running, _):
        line = {"command": "swap", "folder": str(pair[1].folder)}
        for path in ("/swap", "/v1/swap", "/v1/model", "/control", "/rollback"):
            assert httpx.post(f"http://127.0.0.1:{running.port}{path}", json=line).status_code in (404, 405)
        assert served(running)["model"] == identity(pair[0])


def test_a_socket_left_by_a_dead_server_is_replaced(pair: tuple[Artifact, Artifact], runtime: Path) -> None:
    with serving(pair[0].folder) as running:
        path = place.own_folder() / f"127.0.0.1-{running.port}.sock"
        dead = place.bind(path)
        dead.close()
        with pytest.raises(InputError, match="no server"):
            ask(running.port, "status")
        server = ControlServer(running.lifecycle, path)
        running.do(server.start())
        assert ask(running.port, "status")["served"] == identity(pair[0])
        # a worker that drains while its successor listens already must not take the new socket away
        successor = ControlServer(running.lifecycle, path)
        running.do(successor.start())
        running.call(server.stop)
        assert ask(running.port, "status")["served"] == identity(pair[0])
        running.call(successor.stop)
        assert not path.exists()


def test_two_servers_have_a_socket_each(pair: tuple[Artifact, Artifact], runtime: Path) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(controlled(artifact.folder))[0] for artifact in pair)
        assert ask(first.port, "status")["served"] == identity(pair[0])
        assert ask(second.port, "status")["served"] == identity(pair[1])
        with pytest.raises(InputError, match="several servers"):
            ask(None, "rollback")


def test_a_line_that_makes_no_sense_is_refused_and_the_next_one_is_heard(
    pair: tuple[Artifact, Artifact], runtime: Path
) -> None:
    with controlled(pair[0].folder) as (running, server):
        lines = [b"\n", b"{}\n", b"[]\n", b"\xff\n", b'{"command": 1}\n', b'{"command": "stop"}\n',
                 b'{"command": "swap"}\n', b'{"command": "swap", "folder": "relative"}\n',
                 b'{"command": "swap", "folder": 1}\n', b'{"command": "swap", "folder": "/\\u0000"}\n']  # fmt: skip
        for line in lines:
            reply = json.loads(spoken(server.path, line))
            assert reply["ok"] is False, line
            assert reply["error"]
        assert spoken(server.path, b"x" * (LINE_BYTES + 2)) == b""
        assert ask(running.port, "status")["served"] == identity(pair[0])


def test_a_swap_is_finished_though_its_sender_left(pair: tuple[Artifact, Artifact], runtime: Path) -> None:
    with controlled(pair[0].folder) as (running, server):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(server.path))
            connection.sendall(json.dumps({"command": "swap", "folder": str(pair[1].folder)}).encode() + b"\n")

        async def swapped() -> bool:
            for _ in range(500):
                if running.lifecycle.facts()["served"] == identity(pair[1]):
                    return True
                await asyncio.sleep(0.01)
            return False

        assert running.do(swapped())


def test_a_real_server_swaps_shadows_and_comes_back_as_swapped_when_its_worker_is_killed(
    pair: tuple[Artifact, Artifact], runtime: Path, tmp_path: Path
) -> None:
    port = free_port()
    launch = prepare(pair[0].folder, host="127.0.0.1", port=port, threads=1)
    server = Server.start(launch, port=port, log=tmp_path / "log")
    try:
        server.wait_until_ready(60)
        assert [path.name for path in (runtime / "toolkit").iterdir()] == [f"127.0.0.1-{port}.sock"]
        ask(port, "shadow", folder=str(pair[1].folder))
        answer = httpx.post(f"{server.url}/v1/classify", json={"inputs": TEXTS}).json()
        assert answer["predictions"] == answers_of(pair[0])
        for _ in range(500):
            found = httpx.get(f"{server.url}/v1/model").json()["deployment"]["shadow"]
            if found["rows"]:
                break
            time.sleep(0.01)
        assert (found["rows"], found["failed"]) == (len(TEXTS), 0)
        assert found["agreement"]["value"] < 1
        assert ask(port, "swap", folder=str(pair[1].folder))["served"] == identity(pair[1])
        (worker,) = psutil.Process(server.process.pid).children()
        worker.kill()
        worker.wait(10)
        server.wait_until_ready(30)
        answer = httpx.post(f"{server.url}/v1/classify", json={"inputs": TEXTS}).json()
        assert answer["model"] == identity(pair[1])
        assert answer["predictions"] == answers_of(pair[1])
        assert ask(port, "rollback")["served"] == identity(pair[0])
    finally:
        server.stop()
    assert not (runtime / "toolkit" / f"127.0.0.1-{port}.sock").exists()
    with pytest.raises(InputError, match="no server"):
        ask(port, "status")


def test_a_folder_of_somebody_else_is_not_used(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (runtime / "toolkit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="not a folder of this user's"):
        place.own_folder()
    (tmp_path / "elsewhere" / "127.0.0.1-3000.sock").touch()
    assert runtime / "toolkit" / "127.0.0.1-3000.sock" not in place.sockets_of(3000)


def test_a_name_is_the_address_that_is_listened_on() -> None:
    program = (
        "import os, socket\n"
        "from toolkit.serving.place import listening_address\n"
        "assert listening_address() == f'pid-{os.getppid()}'\n"
        "listener = socket.socket(); listener.bind(('127.0.0.1', 0)); client = socket.socket()\n"
        "assert listening_address() == f'pid-{os.getppid()}', 'bound is not listening'\n"
        "listener.listen(1)\n"
        "assert listening_address() == f'127.0.0.1-{listener.getsockname()[1]}'\n"
        "client.connect(listener.getsockname())\n"
        "assert listening_address() == f'127.0.0.1-{listener.getsockname()[1]}'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(toolkit.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_path_that_is_too_long_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long for a socket"):
        place.bind(tmp_path / ("x" * 120))
