"""The server that does nothing: it answers, it can be stopped, and it never outlives who started it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from toolkit.errors import InputError, RecipeError
from toolkit.measure.load import Request, run_closed
from toolkit.measure.null_server import BODY, NullServer


@pytest.fixture(scope="module")
def server() -> Iterator[NullServer]:
    with NullServer() as running:
        yield running


def test_every_request_gets_the_same_answer(server: NullServer) -> None:
    requests = [
        Request("/any/where", b"x" * 5000, check=BODY.__eq__),
        Request("/", method="GET", check=BODY.__eq__),
    ]
    samples = run_closed(server.url, requests, connections=3, seconds=0.3)
    assert samples.success_rate == 1.0
    assert len(samples) > 20


def test_requests_in_pieces_and_several_at_once_are_told_apart(server: NullServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        for piece in (
            b"POST / HTTP/1.1\r\nContent-Le",
            b"ngth: 4\r\n\r\nab",
            b"cdGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ):
            wire.sendall(piece)
            time.sleep(0.05)
        found = b""
        while found.count(BODY + b"HTTP") + found.endswith(BODY) < 3:
            more = wire.recv(4096)
            assert more
            found += more
        assert found.count(b"HTTP/1.1 200 OK\r\n") == 3


def test_a_stall_is_as_long_as_it_was_asked_to_be(server: NullServer) -> None:
    with server.stalled(after=0.2, seconds=0.5) as stall:
        samples = run_closed(server.url, [Request("/")], connections=1, seconds=1.0)
    assert 400 < samples.latency_ms.max() < 2000
    slow = samples.latency_ms > 300
    assert slow.sum() == 1
    # asked just before or while it was stopped, answered after
    asked = samples.start + samples.scheduled[slow][0]
    assert stall.began - 0.3 < asked < stall.ended < samples.start + samples.finished[slow][0] + 1e-3
    assert 0.5 <= stall.ended - stall.began < 1.0


def test_it_runs_again_when_the_block_ends_early(server: NullServer) -> None:
    def leave_while_stopped() -> None:
        with server.stalled(after=0.0, seconds=60.0):
            time.sleep(0.2)
            raise KeyError

    with pytest.raises(KeyError):
        leave_while_stopped()
    assert run_closed(server.url, [Request("/")], connections=1, seconds=0.2).success_rate == 1.0


def test_a_stall_that_is_none_is_refused(server: NullServer) -> None:
    with pytest.raises(RecipeError, match="is none"), server.stalled(after=-1, seconds=1):
        pass
    with pytest.raises(RecipeError, match="is none"), server.stalled(after=1, seconds=0):
        pass


def test_it_is_on_the_core_that_it_was_given_and_gone_at_the_end() -> None:
    core = max(os.sched_getaffinity(0))
    with NullServer(core=core) as running:
        pid = running.pid
        assert os.sched_getaffinity(pid) == {core}
    with pytest.raises(InputError, match="not running"):
        _ = running.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_with_its_parent() -> None:
    program = (
        "import os\nfrom toolkit.measure.null_server import NullServer\n"
        "print(NullServer().__enter__().pid, flush=True)\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and is_running(int(done.stdout)):
        time.sleep(0.05)
    assert not is_running(int(done.stdout))


def is_running(pid: int) -> bool:
    """False for a zombie too: nobody may reap an orphan in a container."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False
