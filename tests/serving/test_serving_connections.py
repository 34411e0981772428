"""Over real sockets: heads and answers in time, odd requests answered, refusals that keep the connection in step."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from serving.running_server import BODY, Gate, Here, one_answer, post, serving, until_closed

from toolkit.artifact import Artifact
from toolkit.serving.bodies import WHOLE
from toolkit.serving.connections import GuardedProtocol
from toolkit.serving.worker import let_runs_finish

GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
CLOSED = b"connection: close\r\n"


@pytest.fixture(scope="module")
def here(artifacts: dict[str, Artifact]) -> Iterator[Here]:
    """One server with the usual limits, but for short bodies."""
    with serving(artifacts["text"].folder, body_seconds=0.5) as running:
        yield running


def problem_of(answer: bytes) -> tuple[int, str]:
    """Status and code of the one problem document in `answer`, checked."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower(), answer[:200]
    document = json.loads(body)
    status = int(head.split(b" ")[1])
    assert document["status"] == status
    return status, str(document["code"])


def test_heads_that_never_end_are_closed_in_time_and_the_others_answered(artifacts: dict[str, Artifact]) -> None:
    with serving(artifacts["text"].folder, header_seconds=1.5) as here:
        started = time.monotonic()
        slow = [here.connect() for _ in range(100)]
        for connection in slow[:50]:
            connection.sendall(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\nx-slow: ")
        for connection in slow[50:75]:
            connection.sendall(b"\r\n")  # no head has begun, but the keep-alive timer has ended
        with here.connect() as good:
            for _ in range(5):
                for connection in slow[:50]:
                    connection.sendall(b"a")
                good.sendall(post())
                assert one_answer(good)[0] == 200
        answers = [until_closed(connection) for connection in slow]
        assert time.monotonic() - started < 1.5 + 2
        assert {problem_of(answer) for answer in answers[:50]} == {(408, "slow_head")}
        assert set(answers[50:]) == {b""}, "nothing was asked, nothing is said"


def test_a_body_that_trickles_is_bounded_too(here: Here) -> None:
    with here.connect() as connection:
        connection.sendall(post(b"", length=100))
        started = time.monotonic()
        while time.monotonic() - started < 5:
            try:
                connection.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
        assert time.monotonic() - started < 4
    with here.connect() as connection:
        connection.sendall(post(b"x", length=100))
        assert problem_of(until_closed(connection)) == (408, "slow_body")


def test_an_answer_that_is_not_read_ends_the_connection(artifacts: dict[str, Artifact]) -> None:
    served = serving(artifacts["text"].folder, send_seconds=1.0, header_seconds=30.0)
    with served as here, here.connect(seconds=1.0) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        started = time.monotonic()
        with contextlib.suppress(OSError):  # full at first, reset once the server has had enough
            for _ in range(1000):
                connection.sendall(b"GET /v1/model HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)
        while here.server.server_state.connections and time.monotonic() < started + 5:
            time.sleep(0.05)
        assert not here.server.server_state.connections
        assert time.monotonic() - started < 4


def test_more_connections_than_allowed_are_told_so(artifacts: dict[str, Artifact]) -> None:
    with serving(artifacts["text"].folder, max_connections=3) as here:
        kept = [here.connect() for _ in range(3)]
        for connection in kept:
            connection.sendall(GET)
            assert one_answer(connection)[0] == 200
        with here.connect() as fourth:
            assert problem_of(until_closed(fourth)) == (503, "too_many_connections")
        kept[0].close()
        deadline = time.monotonic() + 5
        while len(here.server.server_state.connections) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        with here.connect() as again:
            again.sendall(GET)
            assert one_answer(again)[0] == 200
        assert ("connection", 503, "too_many_connections") in here.told.events


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /livez HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", 431, "large_head"),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 600_000, 431, "large_head"),
        (b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n", 431, "large_head"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431, "large_head"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not_http"),
        (b"nonsense\r\n\r\n", 400, "not_http"),
        (b"GET /livez HTTP/9.9\r\nhost: x\r\n\r\n", 400, "not_http"),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400, "not_http"),
        (b"GET /livez HTTP/1.1\r\nho st: x\r\n\r\n", 400, "not_http"),
        (b"GET /livez HTTP/1.1\r\nx: a\x00b\r\n\r\n", 400, "not_http"),
        (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "not_http"),
        (post(BODY, b"content-length: 5"), 400, "not_http"),
        (post(BODY, b"transfer-encoding: chunked"), 400, "not_http"),
        (post(BODY, b"connection: upgrade, http2-settings", b"upgrade: h2c"), 400, "upgrade"),
        (post(b"", length=-1), 400, "not_http"),
        (post(b"").replace(b"content-length: 0", b"content-length: 99999999999999999999999"), 400, "not_http"),
        (b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "not_http"),
    ],
)  # fmt: skip
def test_what_is_not_to_be_read_gets_a_problem_and_the_connection_ends(
    here: Here, caplog: pytest.LogCaptureFixture, head: bytes, status: int, code: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert problem_of(here.ask(head)) == (status, code)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ("connection", status, code) in here.told.events


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"GET http://x/livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 200),
        (b"GET /%ff%fe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
        (b"GET //../livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
        (b"TRACE /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\nx: \xff\xfe\r\nconnection: close\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nrest", 200),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n", 200),
        (post(b'{"inputs": ["a"]}trailing', length=17), 200),
    ],
)
def test_an_unusual_request_is_answered(
    here: Here, caplog: pytest.LogCaptureFixture, request_: bytes, status: int
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = here.ask(request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_pipelined_requests_are_answered_in_order_even_when_one_waits(here: Here) -> None:
    with here.connect() as connection, Gate(here) as gate:
        connection.sendall(post() + GET + post(b"{}") + GET)
        time.sleep(0.1)
        gate.open()
        statuses = [one_answer(connection)[0] for _ in range(4)]
    assert statuses == [200, 200, 422, 200]


def test_clients_that_left_are_seen_queued_or_running_and_who_stays_is_answered(here: Here) -> None:
    told = len(here.told.events)
    with here.connect() as stays, Gate(here) as gate:
        runs, waits = here.connect(), here.connect()
        runs.sendall(post())
        until(lambda: here.app.running == 1)
        waits.sendall(post())
        stays.sendall(post())
        until(lambda: here.app.waiting == 2)
        runs.close()
        waits.close()
        until(lambda: here.app.waiting == 1)
        gate.open()
        assert one_answer(stays)[0] == 200
        until(lambda: len(here.told.events) == told + 3)
    assert sorted(here.told.events[told:]) == [("classify", 200, ""), *[("classify", 499, "client_left")] * 2]


def test_the_thread_of_the_connections_does_not_push_runs_aside() -> None:
    policies: list[int] = []

    def look() -> None:
        let_runs_finish()
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert policies == [os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "only its own thread"


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_nonsense_after_a_request_that_still_waits_does_not_take_its_answer(here: Here) -> None:
    with here.connect() as connection, Gate(here) as gate:
        connection.sendall(post())
        time.sleep(0.1)
        connection.sendall(b"nonsense\r\n\r\n")
        time.sleep(0.1)
        gate.open()
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert CLOSED in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_full_server_refuses_at_the_door_and_keeps_the_connection_in_step(artifacts: dict[str, Artifact]) -> None:
    big = b'{"inputs": ["' + b"a" * 50_000 + b'"]}'
    with serving(artifacts["text"].folder, queue=1) as here, Gate(here) as gate:
        waiting = [here.connect() for _ in range(2)]
        for connection in waiting:
            connection.sendall(post())
            time.sleep(0.1)
        assert here.app.full
        with here.connect() as connection:
            started = time.monotonic()
            connection.sendall(post())
            status, body = one_answer(connection)
            # before the gate opens; how fast that is, is measured in benchmarks/faults
            assert time.monotonic() - started < 1
            assert (status, json.loads(body)["code"]) == (503, "overloaded")
            # the body comes after its refusal, in pieces, and the next request is found behind it
            head, _, rest = post(big).partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\n\r\n")
            assert one_answer(connection)[0] == 503
            for start in range(0, len(rest), 10_000):
                connection.sendall(rest[start : start + 10_000])
                time.sleep(0.01)
            connection.sendall(GET + post() + GET)
            assert [one_answer(connection)[0] for _ in range(3)] == [200, 503, 200]
            # these take the long way, and come to the same
            connection.sendall(post(b"", b"expect: 100-continue", length=5))
            assert one_answer_after_continue(connection, b'{"a":')[0] in (400, 503)
            # the same words again are known by their bytes, and only while they are whole, alone and the same
            known, parsed = post(b'{"inputs": ["a"]}'), here.told.events.count(("classify", 503, "overloaded"))
            for piece in (
                known,
                known,
                known[:-3],
                known[-3:],
                known[:9],
                known[9:],
                known * 3,
                known + GET,
                GET + known,
            ):
                connection.sendall(piece)
                time.sleep(0.02)
            assert [one_answer(connection)[0] for _ in range(11)] == [503] * 8 + [200, 200, 503]
            assert here.told.events.count(("classify", 503, "overloaded")) == parsed + 9
            assert here.server.config.known_heads.recall(known) == "classify"
            gate.open()
            for other in waiting:
                assert one_answer(other)[0] == 200
            for _ in range(2):
                connection.sendall(known)
                assert one_answer(connection)[0] == 200, "known words are answered when there is room"
        assert here.told.events.count(("classify", 503, "overloaded")) >= 3


def test_of_a_burst_only_those_get_past_the_door_who_find_room(artifacts: dict[str, Artifact]) -> None:
    with serving(artifacts["text"].folder, queue=3) as here, Gate(here) as gate:
        runs, *burst = [here.connect() for _ in range(31)]
        runs.sendall(post())
        until(lambda: here.app.running == 1)
        until(lambda: len(here.server.server_state.connections) == 31)
        protocol_of(here, runs).loop.call_soon_threadsafe(time.sleep, 0.3)  # so that all of it is read in one turn
        for connection in burst:
            connection.sendall(post())
        until(lambda: len(here.told.events) == 27)
        assert set(here.told.events) == {("classify", 503, "overloaded")}
        assert set(here.told.seconds) == {0.0}, "refused before anything was spent on it"
        gate.open()
        answers = [one_answer(connection)[0] for connection in (runs, *burst)]
    assert sorted(answers) == [200] * 4 + [503] * 27


def test_the_protocol_says_whether_a_body_has_come(here: Here) -> None:
    with here.connect() as connection:
        connection.sendall(post()[:-3])
        protocol = protocol_of(here, connection)
        until(lambda: hasattr(protocol, "scope"))
        whole = protocol.scope["extensions"][WHOLE]
        assert not whole()
        connection.sendall(post()[-3:])
        assert one_answer(connection)[0] == 200
        assert whole()


def protocol_of(here: Here, connection: socket.socket) -> GuardedProtocol:
    """The server's side of `connection`."""
    found: list[GuardedProtocol] = []

    def look() -> bool:
        found[:] = [
            one
            for one in tuple(here.server.server_state.connections)
            if isinstance(one, GuardedProtocol) and one.client == connection.getsockname()
        ]
        return bool(found)

    until(look)
    return found[0]


def one_answer_after_continue(connection: socket.socket, body: bytes) -> tuple[int, bytes]:
    """The answer to a request that waits to be told to send its body."""
    first = connection.recv(25, socket.MSG_PEEK)
    if first.startswith(b"HTTP/1.1 100"):
        connection.recv(len(b"HTTP/1.1 100 Continue\r\n\r\n"))
        connection.sendall(body)
    return one_answer(connection)


def test_a_refused_body_that_never_comes_ends_the_connection(artifacts: dict[str, Artifact]) -> None:
    with serving(artifacts["text"].folder, queue=1, header_seconds=1.0) as here, Gate(here):
        waiting = [here.connect() for _ in range(2)]
        for connection in waiting:
            connection.sendall(post())
            time.sleep(0.1)
        assert here.app.full
        with here.connect() as connection:
            started = time.monotonic()
            connection.sendall(post(b"{", length=1000))
            answer = until_closed(connection)
        assert problem_of(answer) == (503, "overloaded")
        assert time.monotonic() - started < 2.5
