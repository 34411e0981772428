"""A listener locked, emptied and closed: who was let in is served, who knocks later is refused, nobody is reset."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from toolkit.serving.listener import accept_all, lock, unlock

LOOPBACK = "127.0.0.1"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="filters on sockets are Linux's")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server((LOOPBACK, 0), backlog=128) as made:
        yield made


def connect(listener: socket.socket, seconds: float) -> socket.socket:
    """A connection to it."""
    return socket.create_connection(listener.getsockname(), timeout=seconds)


def test_who_was_let_in_before_the_lock_can_still_speak(listener: socket.socket) -> None:
    early = connect(listener, 1)
    lock(listener)
    (accepted,) = accept_all(listener)
    listener.close()
    with early, accepted:
        early.sendall(b"question")
        assert accepted.recv(100) == b"question"
        accepted.sendall(b"answer")
        assert early.recv(100) == b"answer"


def test_a_locked_listener_lets_nobody_in_until_it_is_unlocked(listener: socket.socket) -> None:
    lock(listener)
    with pytest.raises(TimeoutError):
        connect(listener, 0.3)
    assert accept_all(listener) == []
    unlock(listener)
    unlock(listener)  # nothing to take off is no error
    with connect(listener, 3):
        pass


def knock(address: tuple[str, int], found: Counter[str], stop: threading.Event) -> None:
    """Connect, ask and read, again and again, until nobody listens."""
    while not stop.is_set():
        try:
            connection = socket.create_connection(address, timeout=5)
        except ConnectionRefusedError:
            found["refused"] += 1
            return
        try:
            with connection:
                connection.sendall(b"question")
                found["answered" if connection.recv(100) == b"answer" else "torn"] += 1
        except OSError as error:
            found[type(error).__name__] += 1


def test_closing_under_load_resets_nobody(listener: socket.socket) -> None:
    found: Counter[str] = Counter()
    stop = threading.Event()
    knocking = [threading.Thread(target=knock, args=(listener.getsockname(), found, stop)) for _ in range(8)]

    def answer(accepted: socket.socket) -> None:
        with accepted:
            accepted.settimeout(5)
            if accepted.recv(100):
                accepted.sendall(b"answer")

    for thread in knocking:
        thread.start()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        for accepted in accept_all(listener):
            answer(accepted)
    lock(listener)
    time.sleep(0.05)
    last = accept_all(listener)
    time.sleep(0.05)  # the moment between the last look and the close, made long
    listener.close()
    for accepted in last:
        answer(accepted)
    for thread in knocking:
        thread.join(10)
    stop.set()
    assert set(found) == {"answered", "refused"}, found
    assert found["refused"] == len(knocking)
