"""MLPerf's LoadGen on a real ONNX Runtime session and on real servers whose delays, stalls and ends are known."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import digits_models as models
import numpy as np
import pytest

from toolkit.errors import DataError, InputError, RecipeError
from toolkit.measure import loadgen_start
from toolkit.measure.load import Request
from toolkit.measure.loadgen import SCENARIOS, run_loadgen
from toolkit.measure.null_server import BODY, NullServer
from toolkit.predictor import Prediction, Predictor
from toolkit.progress import Progress
from toolkit.runners.cancel import Cancel
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Arrays

SERVER = Path(__file__).parent / "answering_server.py"
EXAMPLES = models.held_out(300).examples


class Broken(OnnxRunner):
    """A session that fails in every fourth run after the warm-up."""

    runs = 0

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        self.runs += 1
        if self.runs > 300 and self.runs % 4 == 0:
            raise RuntimeError("out of memory")
        return super().run(arrays)


def run_scenario(*arguments: Any, **options: Any) -> dict[str, Any]:
    """As a bench file keeps it."""
    return run_loadgen(*arguments, **options).to_json()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    with Predictor.load(models.make_artifact(tmp_path_factory.mktemp("loadgen") / "digits")) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def null() -> Iterator[NullServer]:
    with NullServer() as running:
        yield running


@pytest.fixture
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, str(SERVER), "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
        finally:
            process.kill()


def halfway(process: subprocess.Popen[str], what: signal.Signals) -> Progress:
    """Sends a signal when half of a run is over: a warm-up takes as long as the machine lets it."""
    sent = []

    def send(stage: str, done: int, total: int, words: str = "") -> None:
        if 2 * done >= total and not sent:
            sent.append(what)
            process.send_signal(what)

    return send


def ask(text: str, expected: str | None = None) -> Request:
    check = None if expected is None else (lambda body: body == expected.encode())
    return Request("/", text.encode(), check=check)


def test_every_scenario_on_a_predictor(predictor: Predictor) -> None:
    for scenario in SCENARIOS:
        found = run_scenario(scenario, predictor, EXAMPLES, seconds=0.6)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["over"] == "in process"
        assert found["rows"] == 256
        assert found["success_rate"] == 1.0
        assert found["asked"] == found["right"] > 100
        assert found["loadgen"]["version"].startswith("6.")
        assert found["seconds"] < 5
        assert ("p50_ms" in found) is (scenario != "offline")


def test_every_scenario_on_a_server(null: NullServer) -> None:
    requests = [Request("/", b"x" * size, check=BODY.__eq__) for size in range(1, 20)]
    for scenario in SCENARIOS:
        found = run_scenario(scenario, null.url, requests, seconds=0.6)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["over"] == "http"
        assert found["rows"] == 19
        assert found["success_rate"] == 1.0
        assert found["by_status"] == {"200": found["asked"]}


def test_the_percentiles_are_loadgens_own(null: NullServer) -> None:
    found = run_scenario("server", null.url, [Request("/")], seconds=2.0, rate=600, objective_ms=2000.0)
    assert found["asked"] > 1000
    for name in ("p50_ms", "p90_ms", "p99_ms"):
        assert found[name] == pytest.approx(found["loadgen"][name], abs=2e-6)
    # with fewer than 10,000 there is no p99.9, though LoadGen's log has one
    assert found["p99_9_ms"] is None
    assert "p99_9_ms" not in found["loadgen"]


def test_loadgens_verdict_and_ours_are_the_same(server: tuple[str, subprocess.Popen[str]]) -> None:
    requests = [ask("sleep 20", "20")]
    kept = run_scenario("server", server[0], requests, seconds=2.0, rate=300, objective_ms=4000.0)
    assert kept["holds"] is True
    assert kept["loadgen"]["validity"] == "VALID"
    broken = run_scenario("server", server[0], requests, seconds=1.0, rate=300, objective_ms=20.0)
    assert broken["holds"] is False
    assert broken["loadgen"]["validity"] == "INVALID"
    assert broken["p50_ms"] > 20
    assert broken["goodput"] == 0
    short = run_scenario("server", server[0], requests, seconds=0.5, rate=300, objective_ms=4000.0)
    assert short["holds"] is None
    assert "more queries" in short["loadgen"]["early_stopping"]


def test_a_single_stream_measures_the_delay_that_the_server_has(server: tuple[str, subprocess.Popen[str]]) -> None:
    found = run_scenario("single_stream", server[0], [ask("sleep 10")], seconds=1.5)
    assert 10 <= found["p50_ms"] < 30
    assert 30 <= found["asked"] <= 150
    # one rank or two from LoadGen's, of a hundred that are all but the same
    assert found["p90_shown_ms"] <= found["loadgen"]["p90_estimate_ms"]
    assert found["p90_shown_ms"] == pytest.approx(found["loadgen"]["p90_estimate_ms"], rel=0.5)
    assert found["p99_ms"] is None


def test_offline_uses_the_connections_that_it_is_given(server: tuple[str, subprocess.Popen[str]]) -> None:
    one = run_scenario("offline", server[0], [ask("sleep 10")], seconds=0.5, connections=1)
    eight = run_scenario("offline", server[0], [ask("sleep 10")], seconds=0.5, connections=8)
    assert one["rate"] <= 100
    assert 3 * one["rate"] < eight["rate"] <= 800
    assert eight["rate"] == pytest.approx(eight["loadgen"]["rate"], rel=0.05)


def test_arrivals_are_poisson_of_the_rate_and_the_same_for_a_seed(null: NullServer) -> None:
    requests = [Request("/", str(i).encode()) for i in range(50)]
    first, again, other = (
        run_loadgen("server", null.url, requests, seconds=1.0, rate=500, seed=seed).samples for seed in (3, 3, 4)
    )
    np.testing.assert_allclose(first.scheduled, again.scheduled, atol=2e-6)
    assert first.request.tolist() == again.request.tolist()
    assert first.request.tolist() != other.request.tolist()[: len(first)]
    assert abs(len(first) - 500) < 5 * 500**0.5
    gaps = np.diff(first.scheduled)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.25)
    assert (first.noticed >= first.scheduled).all()
    assert (first.started >= first.scheduled).all()
    assert (first.finished > first.scheduled).all()


def test_wrong_answers_are_counted_and_have_no_percentile(
    predictor: Predictor, server: tuple[str, subprocess.Popen[str]]
) -> None:
    requests = [ask("echo a", "a"), ask("sleep 50", "never")]
    found = run_scenario("server", server[0], requests, seconds=1.0, rate=200)
    assert 0 < found["right"] < found["asked"]
    assert found["wrong"] == found["asked"] - found["right"]
    assert found["p50_ms"] < 50  # those of 50 ms were wrong
    expected = predictor(EXAMPLES)
    expected[:100] = [Prediction("no such label", 1.0)] * 100
    found = run_scenario("single_stream", predictor, EXAMPLES, seconds=0.5, expected=expected)
    assert 0.2 < found["wrong"] / found["asked"] < 0.5


def test_a_model_that_fails_is_a_result(predictor: Predictor) -> None:
    assert predictor.artifact is not None
    runner = Broken.open(predictor.artifact, threads=1, provider="cpu")
    flaky = Predictor(predictor.encoder, runner, predictor.spec)
    for scenario in ("single_stream", "server"):
        runner.runs = 0
        found = run_scenario(scenario, flaky, EXAMPLES, seconds=0.5, rate=2000 if scenario == "server" else None)
        assert found["errors"] == {"RuntimeError": found["asked"] - found["right"]}
        assert 0.7 < found["success_rate"] < 0.95


def test_a_stall_shows_and_counts_from_when_a_query_was_due(null: NullServer) -> None:
    begin = threading.Event()  # LoadGen gets ready for as long as it likes, a second and more on a slow machine
    with null.stalled(after=0.5, seconds=0.6, begin=begin):
        run = run_loadgen(
            "server", null.url, [Request("/")], seconds=2.0, rate=600, connections=8, on_begin=begin.set
        )  # fmt: skip
    assert 300 < (run.samples.percentile_ms("p99_ms") or 0) < 1500
    assert (run.samples.latency_ms > 200).sum() > 100  # not eight, which is what the connections saw


def test_a_server_that_dies_makes_the_run_void(server: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = server
    found = run_scenario(
        "server", url, [ask("echo a", "a")], seconds=2.0, rate=200, objective_ms=1000.0,
        progress=halfway(process, signal.SIGKILL),
    )  # fmt: skip
    assert 0 < found["success_rate"] < 1
    assert any("no answer at all" in reason for reason in found["void"])
    assert found["holds"] is False
    assert "refused" in found["errors"]
    assert "p99_shown_ms" not in found
    with pytest.raises(InputError, match="does not answer"):
        run_scenario("server", url, [ask("echo a", "a")], seconds=1.0)


def test_a_lone_client_does_not_spin_over_a_dead_server(server: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = server
    gone = halfway(process, signal.SIGKILL)
    found = run_scenario("single_stream", url, [ask("sleep 5", "5")], seconds=2.0, progress=gone)
    assert found["void"]
    assert found["errors"]["refused"] < 200


def test_a_stopped_server_times_out(server: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = server
    start = time.monotonic()
    found = run_scenario(
        "server", url, [ask("echo a", "a")], seconds=1.0, rate=200, timeout=0.3, connections=4,
        progress=halfway(process, signal.SIGSTOP),
    )  # fmt: skip
    assert time.monotonic() - start < 8
    assert set(found["errors"]) <= {"timeout", "closed"}
    assert found["errors"]["timeout"] > 10
    assert found["void"]


def test_what_a_check_raises_is_raised_after_the_run(null: NullServer) -> None:
    def check(body: bytes) -> bool:
        raise ValueError("this check is wrong")

    # ours asks the same check in the warm-up, so the first error is there already
    calls = []

    def later(body: bytes) -> bool:
        calls.append(body)
        return True if len(calls) == 1 else check(body)

    with pytest.raises((ValueError, ExceptionGroup)):
        run_scenario("server", null.url, [Request("/", check=later)], seconds=0.3, rate=100)
    assert len(calls) == 2


def test_an_interrupted_run_ends_with_its_seconds_and_frees_loadgen(predictor: Predictor, null: NullServer) -> None:
    def interrupt(stage: str, done: int, total: int, words: str = "") -> None:
        raise KeyboardInterrupt

    for subject, examples in ((predictor, EXAMPLES), (null.url, [Request("/")])):
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_scenario("server", subject, examples, seconds=1.0, rate=100, progress=interrupt)
        assert time.monotonic() - start < 8
    assert "loadgen subject" not in {thread.name for thread in threading.enumerate()}
    assert run_scenario("single_stream", predictor, EXAMPLES, seconds=0.2)["success_rate"] == 1.0


def test_only_one_run_at_a_time(null: NullServer) -> None:
    refused: list[str] = []

    def another(stage: str, done: int, total: int, words: str = "") -> None:
        if not refused:
            with pytest.raises(InputError, match="runs already"):
                run_scenario("single_stream", null.url, [Request("/")], seconds=0.2)
            refused.append(words)

    assert run_scenario("server", null.url, [Request("/")], seconds=1.0, rate=50, progress=another)["asked"] > 10
    assert refused == ["server"]


def test_a_very_fast_stream_ends_at_its_most_queries(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen_start, "MAX_QUERIES", 150)
    assert run_scenario("single_stream", predictor, EXAMPLES, seconds=5.0)["asked"] == 150


def test_progress_is_told_and_python_is_left_as_it_was(predictor: Predictor) -> None:
    told = []
    interval = sys.getswitchinterval()
    run_scenario("offline", predictor, EXAMPLES, seconds=0.3, progress=lambda *words: told.append(words))
    assert told
    assert all(stage == "loadgen" and done <= total for stage, done, total, *_ in told)
    assert sys.getswitchinterval() == interval


def test_what_makes_no_run_is_refused(predictor: Predictor) -> None:
    with pytest.raises(RecipeError, match="single_stream, server, offline"):
        run_scenario("multi_stream", predictor, EXAMPLES, seconds=1)
    with pytest.raises(DataError, match="no example"):
        run_scenario("offline", predictor, [], seconds=1)
    with pytest.raises(DataError, match="one for each"):
        run_scenario("offline", predictor, EXAMPLES, seconds=1, expected=[])
    with pytest.raises(RecipeError, match="offline has no rate"):
        run_scenario("offline", predictor, EXAMPLES, seconds=1, rate=5)
    for changed in ({"seconds": 0}, {"seconds": 1, "rate": -1}, {"seconds": 1, "objective_ms": float("nan")}):
        with pytest.raises(RecipeError, match="must be above 0"):
            run_scenario("server", predictor, EXAMPLES, **changed)
