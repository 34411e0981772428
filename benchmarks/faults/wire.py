"""Clients that are slow or huge: unfinished heads, dripping bodies, unread answers, bombs."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.faults.row import PLAIN, Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Running, Stand
from benchmarks.faults.traffic import right_of, tally, traffic
from benchmarks.faults.victims import watching_memory
from toolkit.measure.client import Server

LOOPBACK = "127.0.0.1"
MANY_HEADS, MANY_BODIES, READERS = 300, 50, 4
QUICK_LIMIT = 2.0
MARGIN = 1.5
POKE_SECONDS, LOOK_SECONDS = 0.5, 0.05
HUGE_BYTES = 82_000_000
BOMB_BYTES = 1 << 30
MEMORY_MB = 64.0


@contextlib.contextmanager
def held_open(port: int, count: int, head: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have sent `head` and no more."""
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection((LOOPBACK, port), timeout=5))
            held[-1].sendall(head)
        yield held
    finally:
        for connection in held:
            connection.close()


def still_open(held: Sequence[socket.socket], until: float, poke: Callable[[socket.socket], None]) -> int:
    """Wait until then at most, poking each twice a second; how many were not closed by the server."""
    left = list(held)
    poked = 0.0
    while left and (now := time.monotonic()) < until:
        if now - poked >= POKE_SECONDS:
            poked = now
            left = [connection for connection in left if _takes(connection, poke)]
        left = [connection for connection in left if not _has_ended(connection)]
        time.sleep(LOOK_SECONDS)
    return sum(not _has_ended(connection) for connection in left)


def _takes(connection: socket.socket, poke: Callable[[socket.socket], None]) -> bool:
    try:
        poke(connection)
    except OSError:
        return False
    return True


def _has_ended(connection: socket.socket) -> bool:
    """Read what is there, a refusal perhaps; True at its end or at a reset."""
    try:
        while select.select([connection], [], [], 0)[0]:
            if not connection.recv(65536):
                return True
    except OSError:
        return True
    return False


def trickle(stand: Stand, subject: Subject, *, head: bytes, count: int, poke: Callable[[Any], None]) -> Counts:
    """Unfinished requests beside one good client."""
    limit = float(subject.settings.get("TOOLKIT_HEADER_SECONDS", "10")) if not stand.quick else QUICK_LIMIT
    settings = {**subject.settings, "TOOLKIT_HEADER_SECONDS": f"{limit}", "TOOLKIT_BODY_SECONDS": f"{limit}"}
    with stand.serve(Subject(subject.kind, subject.switches, settings), artifact=stand.small) as running:
        good = stand.requests(running, artifact=stand.small)
        head = head.replace(b"PATH", running.path.encode())
        began = time.monotonic()
        with (
            traffic(running.url, good, rate=20.0, seconds=limit + MARGIN, timeout=5.0) as load,
            held_open(running.port, count, head) as held,
        ):
            left = still_open(held, began + limit + MARGIN, poke)
            samples = load.samples
        return {"limit_s": limit, "slow": count, "still_open": left, **tally(samples)}


def judge_trickle(counts: Counts) -> list[str]:
    """Closed in time; the good client noticed nothing."""
    failed = counts["asked"] - counts["right"]
    within = counts["limit_s"] + MARGIN
    return misses(
        (counts["still_open"] == 0, f"{counts['still_open']} of {counts['slow']} still open after {within:g} s"),
        (failed == 0, f"{failed} of {counts['asked']} good requests failed"),
    )


def slow_heads(stand: Stand, subject: Subject) -> Counts:
    """Three hundred heads that never end; a line more now and then."""
    head = b"POST PATH HTTP/1.1\r\nhost: x\r\n"
    return trickle(stand, subject, head=head, count=MANY_HEADS, poke=lambda c: c.sendall(b"x: y\r\n"))


def slow_bodies(stand: Stand, subject: Subject) -> Counts:
    """Fifty bodies that drip, a byte at a time."""
    head = b"POST PATH HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    return trickle(stand, subject, head=head, count=MANY_BODIES, poke=lambda c: c.sendall(b" "))


def slow_readers(stand: Stand, subject: Subject) -> Counts:
    """Four clients ask a thousand large answers each and read none of them."""
    settings = {**subject.settings, "TOOLKIT_SEND_SECONDS": "3"}
    with stand.serve(Subject(subject.kind, subject.switches, settings), artifact=stand.small) as running:
        good = stand.requests(running, artifact=stand.small)
        server = Server.of(running.url)
        body = json.dumps({"inputs": ["moon"] * 256}).encode()
        path = f"{running.path}?top=4" if subject.kind == "ours" else running.path
        one = server.request("POST", path, "application/json", body, ())
        with watching_memory(running.family) as memory:
            held = []
            for _ in range(READERS):
                connection = socket.socket()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect((LOOPBACK, running.port))
                connection.setblocking(False)
                held.append(connection)
            with traffic(running.url, good, rate=20.0, seconds=10.0, timeout=5.0) as load:
                sent = _push(held, one, seconds=6.0)
                samples = load.samples
            closed = sum(_is_closed(connection) for connection in held)
            for connection in held:
                connection.close()
        # while they still ask, they are clients like others: what counts is afterwards
        later = samples.between(7.0, 10.0)
        return {"readers": READERS, "sent_mb": round(sent / 1e6, 1), "closed": closed, **memory, **tally(later)}


def _push(held: Sequence[socket.socket], one: bytes, *, seconds: float) -> int:
    """Send the request again and again on each, as far as the server takes it."""
    sent = 0
    waiting = dict.fromkeys(held, one)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for connection in held:
            with contextlib.suppress(OSError):
                done = connection.send(waiting[connection])
                sent += done
                waiting[connection] = waiting[connection][done:] or one
        time.sleep(0.002)
    return sent


def _is_closed(connection: socket.socket) -> bool:
    """Read away what is there; True at an end or a reset."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        try:
            if not connection.recv(1 << 20):
                return True
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            return True
    return False


def judge_readers(counts: Counts) -> list[str]:
    """Cut off, without a mountain of answers in memory, and nobody else noticed."""
    failed = counts["asked"] - counts["right"]
    return misses(
        (counts["closed"] == counts["readers"], f"{counts['closed']} of {counts['readers']} were cut off"),
        (counts["growth_mb"] <= MEMORY_MB, f"memory grew by {counts['growth_mb']} MB"),
        (failed == 0, f"{failed} of {counts['asked']} good requests failed"),
    )


def huge_bodies(stand: Stand, subject: Subject) -> Counts:
    """A body of 82 MB with its length, the same in chunks without, and a gigabyte of nothing in a megabyte."""
    bomb = (
        gzip.compress(b" " * BOMB_BYTES, compresslevel=1)
        if not stand.quick
        else gzip.compress(b" " * (BOMB_BYTES >> 4))
    )
    huge = b'{"inputs": ["' + b"a" * HUGE_BYTES + b'"]}'
    found: dict[str, dict[str, Any]] = {}
    with stand.serve(subject, artifact=stand.small) as running:
        good = stand.requests(running, artifact=stand.small)
        with watching_memory(running.family) as memory:
            found["length"] = _send_huge(running, huge, {})
            found["chunked"] = _send_huge(running, _pieces(huge), {})
            found["bomb"] = _send_huge(running, bomb, {"content-encoding": "gzip"})
        return {
            "statuses": {name: one["status"] for name, one in found.items()},
            "slowest_s": max(one["seconds"] for one in found.values()),
            **memory,
            "right_after": right_of(running.port, good[0], 20),
        }


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1 << 16):
        yield content[start : start + (1 << 16)]


def _send_huge(running: Running, body: Any, headers: dict[str, str]) -> dict[str, Any]:
    """The status, also of a server that answers before it has read everything, and the seconds."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(LOOPBACK, running.port, timeout=30)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", running.path, body, {"content-type": "application/json", **headers},
                               encode_chunked=not isinstance(body, bytes))  # fmt: skip
        status = _early_status(connection)
    finally:
        connection.close()
    return {"status": status, "seconds": round(time.perf_counter() - started, 2)}


def _early_status(connection: http.client.HTTPConnection) -> int:
    """http.client would not read an answer after a failed send."""
    response = http.client.HTTPResponse(connection.sock)
    try:
        response.begin()
    except (OSError, http.client.HTTPException):
        return 0
    return response.status


def judge_huge(counts: Counts) -> list[str]:
    """Refused early, and never held in memory; a reset after the refusal may eat it (status 0)."""
    statuses = counts["statuses"]
    return misses(
        (statuses["length"] in (413, 0) and statuses["chunked"] in (413, 0), f"82 MB: {statuses}"),
        (statuses["bomb"] in (400, 413, 415, 0), f"gzip bomb: {statuses['bomb']}"),
        (counts["slowest_s"] <= 1.0, f"took {counts['slowest_s']} s"),
        (counts["growth_mb"] <= MEMORY_MB, f"memory grew by {counts['growth_mb']} MB"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


ROWS = (
    Row("slow headers", "300 heads that never end (limit 10 s; 2 s in the quick form)",
        "closed within the limit + 1.5 s; 0 good requests fail", slow_heads, judge_trickle, PLAIN, quick=False),
    Row("slow body", "50 bodies that drip (limit 10 s; 2 s in the quick form)",
        "closed within the limit + 1.5 s; 0 good requests fail", slow_bodies, judge_trickle, PLAIN, quick=False),
    Row("slow read", "4 clients that ask large answers without end and read none (limit 3 s)",
        "cut off; memory grows by 64 MB at most; 0 good requests fail", slow_readers, judge_readers,
        sabotaged("slot while sending"), quick=False),
    Row("82 MB and gzip bomb", "82 MB with a length, 82 MB in chunks, 1 GB of blanks in gzip",
        "413, 413, 415 within 1 s; memory grows by 64 MB at most", huge_bodies, judge_huge, PLAIN, quick=False),
)  # fmt: skip
