"""A server that does nothing, in a process of its own: what a generator costs, and what it sees when a server stalls.

It reads a whole HTTP/1.1 request and answers 200 with the same two bytes. What is measured against it
is the generator, the kernel and the loopback device, and nothing else. `stalled` stops the process
with SIGSTOP, as a collector, a page fault or a neighbour would: connections stay open, no answer comes.

Limits: requests have a content-length or no body; nothing is routed or checked. Unix only. The
process ends when its parent's end of the pipe does; one that is stopped just then is left stopped.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from toolkit.errors import InputError, RecipeError

BODY = b"ok"
START_SECONDS = 20.0
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@dataclass
class Stall:
    """When the process was stopped and when it went on, perf_counter seconds; infinite until then."""

    began: float = math.inf
    ended: float = math.inf


class NullServer:
    """Runs from `with` to its end; `url` and `pid` are there inside. `core` is the processor that it is kept on."""

    def __init__(self, *, core: int | None = None) -> None:
        self._core = core
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """Of the process; raises `InputError` when it is not running."""
        if self._process is None or self._process.poll() is not None:
            raise InputError("the null server is not running; use it inside its with block")
        return self._process.pid

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__, "" if self._core is None else str(self._core)]
        # a session of its own: Ctrl-C is for the parent, which then ends this
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        late = threading.Timer(START_SECONDS, self._process.kill)
        late.start()
        port = self._process.stdout.readline().strip()
        late.cancel()
        if not port:
            self.__exit__()
            raise InputError("the null server did not start; its own words are above")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *exception: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # a stopped process too
            process.communicate()

    @contextmanager
    def stalled(self, *, after: float, seconds: float, begin: threading.Event | None = None) -> Iterator[Stall]:
        """Stop the process `after` seconds from now, for `seconds`; it runs again when the block ends, in any way.

        With `begin` the seconds count from when that is set.
        """
        if not after >= 0 or not seconds > 0:
            raise RecipeError(f"a stall of {seconds} s after {after} s is none; give times above 0")
        pid, over, found = self.pid, threading.Event(), Stall()

        def stall() -> None:
            if begin is not None:
                begin.wait()
            if not over.wait(after):
                os.kill(pid, signal.SIGSTOP)
                found.began = time.perf_counter()
                over.wait(seconds)
                found.ended = time.perf_counter()
                os.kill(pid, signal.SIGCONT)

        thread = threading.Thread(target=stall, name="stall")
        thread.start()
        try:
            yield found
        finally:
            over.set()
            if begin is not None:
                begin.set()
            thread.join()


class _Answers(asyncio.Protocol):
    """One connection: each whole request gets the one answer, pipelined ones too."""

    def __init__(self) -> None:
        self._left = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._left += data
        while (end := self._left.find(b"\r\n\r\n")) >= 0:
            whole = end + 4 + _content_length(self._left[:end])
            if len(self._left) < whole:
                return
            self._left = self._left[whole:]
            self._transport.write(_ANSWER)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(core: str) -> None:
    if core:
        os.sched_setaffinity(0, {int(core)})
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    server = await loop.create_server(_Answers, "127.0.0.1", 0, backlog=1024)
    # the parent never writes: readable means that it is gone
    loop.add_reader(sys.stdin.fileno(), over.set)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await over.wait()


def main() -> None:
    """The process: write the port, answer until the parent is gone."""
    asyncio.run(_serve(sys.argv[1]))


if __name__ == "__main__":
    main()
