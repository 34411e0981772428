"""Who answers while no worker lives: at once, whatever comes, and never beside a worker that has opened."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from toolkit.serving import doorkeeper as module
from toolkit.serving.doorkeeper import OPENED, Doorkeeper, say_opened
from toolkit.serving.listener import lock

ASK = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


def at_the_door(tmp_path: Path, ask: Callable[[Doorkeeper, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Run `ask` beside a doorkeeper of a listener that nobody else looks at."""

    async def stand() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            keeper = Doorkeeper(tmp_path / "opened")
            keeper.stand([listener])
            try:
                await ask(keeper, listener)
            finally:
                keeper.leave()

    asyncio.run(stand())


async def answer_to(listener: socket.socket, *parts: bytes, pause: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause)
    writer.write_eof()
    found = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return found


def problem_of(answer: bytes) -> tuple[bytes, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
    return head, json.loads(body)


def test_whatever_is_asked_is_told_to_come_again(tmp_path: Path) -> None:
    async def ask(keeper: Doorkeeper, listener: socket.socket) -> None:
        for request in (b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n", ASK % 3 + b"abc", ASK % 300_000 + b"a" * 300_000):
            head, problem = problem_of(await answer_to(listener, request))
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in head
            assert b"connection: close" in head
            assert (problem["status"], problem["code"]) == (503, "not_ready")
        assert keeper.stands

    at_the_door(tmp_path, ask)


def test_a_head_in_pieces_is_waited_for_and_two_hundred_are_answered(tmp_path: Path) -> None:
    async def ask(_: Doorkeeper, listener: socket.socket) -> None:
        slow = answer_to(listener, b"GET / HTTP/1.1\r\n", b"host: x\r\n", b"\r\n", pause=0.05)
        answers = await asyncio.gather(slow, *(answer_to(listener, b"GET / HTTP/1.1\r\n\r\n") for _ in range(200)))
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in answers)

    at_the_door(tmp_path, ask)


def test_what_is_no_request_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.3)

    async def ask(_: Doorkeeper, listener: socket.socket) -> None:
        assert await answer_to(listener) == b""
        assert await answer_to(listener, b"\x16\x03\x01 a greeting of TLS") == b""
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\n")  # and never its end
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    at_the_door(tmp_path, ask)


def test_it_goes_when_a_worker_has_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "opened").touch()  # the dead worker's

    async def ask(keeper: Doorkeeper, listener: socket.socket) -> None:
        assert (await answer_to(listener, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        monkeypatch.setenv(OPENED, str(tmp_path / "opened"))
        say_opened()
        for _ in range(500):
            if not keeper.stands:
                break
            await asyncio.sleep(0.01)
        assert not keeper.stands
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):  # the kernel took it, for the worker
            await asyncio.wait_for(reader.read(1), 0.2)
        listener.setblocking(False)
        accepted, _ = listener.accept()
        accepted.close()
        writer.close()

    at_the_door(tmp_path, ask)


def test_it_opens_a_door_that_a_dying_worker_had_locked(tmp_path: Path) -> None:
    async def ask(keeper: Doorkeeper, listener: socket.socket) -> None:
        lock(listener)
        keeper.stand([listener])
        assert (await answer_to(listener, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        keeper.leave()
        keeper.leave()
        assert not keeper.stands

    at_the_door(tmp_path, ask)


def test_a_worker_that_nobody_asked_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPENED, raising=False)
    say_opened()
