"""The load generator against a real server whose delays are known, stopped, broken and wrong ones included."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from toolkit.errors import InputError, RecipeError
from toolkit.measure.load import Request, closed_load, open_load, run_closed, run_open

SERVER = Path(__file__).parent / "answering_server.py"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """Its URL and its process id."""
    with subprocess.Popen([sys.executable, str(SERVER), "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.kill()


def ask(text: str, expected: str | None = None) -> Request:
    check = None if expected is None else (lambda body: body == expected.encode())
    return Request("/", text.encode(), check=check)


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_closed_client_measures_the_delay_that_the_server_has(server: tuple[str, int]) -> None:
    samples = run_closed(server[0], [ask("sleep 20")], connections=2, seconds=1.0)
    summary = samples.summary()
    # two clients, 20 ms each: at most 100 answers a second, and nearly as many
    assert 40 <= summary["rate"] <= 100
    assert 20.0 <= summary["p50_ms"] < 40.0
    assert summary["success_rate"] == 1.0
    assert summary["by_status"] == {"200": len(samples)}
    assert summary["p99_ms"] is None  # under 1,000 samples


def test_every_request_is_asked_in_turn_and_each_answer_is_checked(server: tuple[str, int]) -> None:
    samples = run_closed(
        server[0], [ask("echo a", "a"), ask("echo b", "b"), ask("echo c", "x")], connections=1, seconds=0.3
    )
    counts = np.bincount(samples.request, minlength=3)
    assert counts.max() - counts.min() <= 1
    assert samples.right[samples.request < 2].all()
    assert not samples.right[samples.request == 2].any()
    assert samples.wrong.sum() == counts[2]
    assert samples.summary()["wrong"] == counts[2]
    assert samples.rate() == pytest.approx(counts[:2].sum() / 0.3, rel=0.02)


def test_open_arrivals_are_poisson_of_the_rate_and_the_same_for_a_seed(server: tuple[str, int]) -> None:
    first = run_open(server[0], [ask("echo a", "a"), ask("echo b", "b")], rate=400, seconds=2.0, seed=5)
    again = run_open(server[0], [ask("echo a", "a"), ask("echo b", "b")], rate=400, seconds=2.0, seed=5)
    other = run_open(server[0], [ask("echo a", "a"), ask("echo b", "b")], rate=400, seconds=2.0, seed=6)
    assert abs(len(first) - 800) < 5 * 800**0.5
    due = np.sort(first.scheduled)
    np.testing.assert_allclose(due, np.sort(again.scheduled), atol=1e-6)
    assert len(due) != len(other) or not np.allclose(due, np.sort(other.scheduled))
    gaps = np.diff(due)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.2)  # exponential; a fixed rate would have 0
    assert first.success_rate == 1.0
    assert (first.scheduled <= first.noticed).all()
    assert (first.noticed <= first.started).all()
    assert (first.started <= first.finished).all()


def test_a_server_stopped_for_one_second_of_eight_shows_in_p99(server: tuple[str, int]) -> None:
    """The self-test of a generator: one that waits for the server before it asks again would say 2 ms."""
    url, pid = server

    async def stop_and_measure() -> dict[str, float]:
        async def stall() -> None:
            await asyncio.sleep(3.0)
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(1.0)
            finally:
                os.kill(pid, signal.SIGCONT)

        samples, _ = await asyncio.gather(
            open_load(url, [ask("echo a", "a")], rate=200, seconds=8.0, connections=64), stall()
        )
        assert samples.success_rate == 1.0
        return {"p99": samples.percentile_ms("p99_ms") or 0.0, "p50": samples.percentile_ms("p50_ms") or 0.0}

    found = asyncio.run(stop_and_measure())
    assert 750 < found["p99"] < 1500
    assert found["p50"] < 100


def test_waiting_for_a_connection_counts(server: tuple[str, int]) -> None:
    # one connection serves 50 a second at 20 ms each; 100 a second are offered for a second
    samples = run_open(server[0], [ask("sleep 20")], rate=100, seconds=1.0, connections=1, timeout=5.0)
    waited = (samples.started - samples.scheduled) * 1e3
    assert waited.max() > 500
    assert samples.latency_ms.max() > waited.max()
    assert np.median(samples.finished - samples.started) < 0.1
    assert samples.rate() < 60
    assert samples.rate(objective_ms=100) < samples.rate()


def test_a_timeout_counts_from_the_scheduled_time_and_is_no_answer(server: tuple[str, int]) -> None:
    samples = run_open(server[0], [ask("sleep 20")], rate=150, seconds=1.0, connections=1, timeout=0.3)
    late = samples.status == 0
    assert late.any()
    assert samples.errors == {"timeout": late.sum()}
    assert np.percentile(samples.latency_ms, 90) < 500
    assert len(samples) == pytest.approx(150, abs=60)


def test_refusals_are_counted_with_their_time_and_header(server: tuple[str, int]) -> None:
    summary = run_closed(server[0], [ask("refuse"), ask("echo a", "a")], connections=1, seconds=0.5).summary(50.0)
    assert summary["by_status"].keys() == {"200", "503"}
    assert summary["refused"]["count"] == summary["refused"]["retry_after"] == summary["by_status"]["503"]
    assert 0.45 <= summary["success_rate"] <= 0.55
    assert 0 < summary["goodput"] <= summary["rate"]
    json.dumps(summary)


def test_resets_noise_and_a_closed_port_are_results(server: tuple[str, int]) -> None:
    samples = run_closed(server[0], [ask("reset"), ask("noise"), ask("echo a", "a")], connections=1, seconds=0.5)
    assert set(samples.errors) == {"closed", "not_http"} or set(samples.errors) == {"reset", "not_http"}
    assert samples.right[samples.request == 2].all()
    assert (samples.status[samples.request < 2] == 0).all()
    refused = run_closed(f"http://127.0.0.1:{unused_port()}", [ask("echo a")], connections=2, seconds=0.2)
    assert set(refused.errors) == {"refused"}
    assert refused.errors["refused"] == len(refused) <= 2 * 21
    assert refused.success_rate == 0.0
    json.dumps(refused.summary(10.0))


@pytest.mark.parametrize(
    ("text", "body"), [("close bye", "bye"), ("chunked", "abcde"), ("length-less", "whole"), ("echo", "")]
)
def test_every_way_to_end_an_answer_is_understood(server: tuple[str, int], text: str, body: str) -> None:
    samples = run_closed(server[0], [ask(text, body)], connections=2, seconds=0.1)
    assert len(samples) > 2
    assert samples.success_rate == 1.0


def test_a_get_has_no_body(server: tuple[str, int]) -> None:
    check = {"check": lambda body: body == b"none"}
    samples = run_closed(server[0], [Request("/", method="GET", **check)], connections=1, seconds=0.1)
    assert samples.success_rate == 1.0


def test_part_of_a_run_counts_what_was_due_in_it(server: tuple[str, int]) -> None:
    samples = run_open(server[0], [ask("echo a", "a")], rate=300, seconds=1.5, seed=1)
    parts = [samples.between(start, start + 0.5) for start in (0.0, 0.5, 1.0)]
    assert sum(len(part) for part in parts) == len(samples)
    for part in parts:
        assert part.scheduled.max() < 0.5
        assert part.latency_ms.max() <= samples.latency_ms.max()
        assert part.rate() == pytest.approx(300, abs=100)


def test_a_generator_that_was_held_up_says_that_it_is_not_valid(server: tuple[str, int]) -> None:
    async def held_up() -> bool:
        async def hold() -> None:
            for _ in range(4):
                await asyncio.sleep(0.1)
                # what a busy machine does to a generator: nothing is sent meanwhile, though it was due
                subprocess.run(["sleep", "0.05"], check=True)

        samples, _ = await asyncio.gather(open_load(server[0], [ask("echo a")], rate=200, seconds=1.0), hold())
        assert samples.slip_ms.max() > 30
        return samples.valid

    assert asyncio.run(held_up()) is False


def test_what_makes_no_load_is_refused(server: tuple[str, int]) -> None:
    one = [ask("echo a")]
    with pytest.raises(RecipeError, match="make no load"):
        run_closed(server[0], [], connections=1, seconds=1)
    with pytest.raises(RecipeError, match="make no load"):
        run_closed(server[0], one, connections=0, seconds=1)
    with pytest.raises(RecipeError, match="rate is 0"):
        run_open(server[0], one, rate=0, seconds=1)
    with pytest.raises(InputError, match="give http"):
        asyncio.run(closed_load("127.0.0.1:3000", one, connections=1, seconds=1))
