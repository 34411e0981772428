"""The peak of a queue that is known, steps below it, a generator that is late, a real server over one connection."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from serving.small_models import image_artifact, picture, recommender_artifact, text_artifact

from toolkit.errors import DataError
from toolkit.measure.load import Request
from toolkit.measure.load_samples import Samples
from toolkit.measure.served_rungs import (
    ARRIVALS,
    LATE,
    MOST_RATE,
    SHARES,
    OverHttp,
    find_peak,
    judge_load,
    long_enough,
    open_steps,
    requests_for,
)
from toolkit.predictor import Predictor

SERVER = Path(__file__).parent / "answering_server.py"


def queue(service_ms: float, *, late: Callable[[float], bool] = lambda rate: False, fails: float = 0.0
          ) -> Callable[[float, float], Samples]:  # fmt: skip
    """One server of constant service time under Poisson arrivals (M/D/1): what a load run of it would have seen."""
    calls = [0]

    def offer(rate: float, seconds: float) -> Samples:
        calls[0] += 1
        random = np.random.default_rng(calls[0])
        due = np.cumsum(random.exponential(1 / rate, int(rate * seconds * 1.3) + 50))
        due = due[due < seconds]
        finished, free = np.empty_like(due), 0.0
        for place, now in enumerate(due):
            free = finished[place] = max(now, free) + service_ms / 1e3
        right = random.random(len(due)) >= fails
        noticed = due + (0.05 if late(rate) else 0.0)
        return Samples(
            scheduled=due, noticed=noticed, started=noticed, finished=finished, status=np.where(right, 200, 503),
            right=right, retry_after=~right, request=np.zeros(len(due), dtype=np.int64), errors={}, start=0.0,
            seconds=seconds,
        )  # fmt: skip

    return offer


def true_p99(rate: float) -> float:
    """Of the queue of 5 ms, from half an hour of it."""
    return float(np.quantile(queue(5.0)(rate, 1800.0).latency_ms, 0.99))


def test_the_peak_of_a_known_queue_is_found() -> None:
    peak = find_peak(queue(5.0), objective_ms=30.0, start=50.0, seconds=60.0)
    assert peak.rate is not None
    assert true_p99(peak.rate) <= 30.0 < true_p99(1.25 * peak.rate)
    assert peak.limit == "the objective"
    assert not peak.slipped
    tried = [probe.rate for probe in peak.probes]
    assert tried[:3] == [50.0, 100.0, 200.0]
    lowest = min(probe.rate for probe in peak.probes if not probe.holds)
    assert (lowest - peak.rate) / lowest <= 1 / 16
    assert peak.to_json()["rate"] == peak.rate
    json.dumps(peak.to_json(), allow_nan=False)


def test_a_start_that_is_too_high_is_halved() -> None:
    peak = find_peak(queue(5.0), objective_ms=30.0, start=800.0, seconds=60.0)
    assert peak.rate is not None
    assert true_p99(peak.rate) <= 30.0 < true_p99(1.25 * peak.rate)
    assert [probe.rate for probe in peak.probes][:3] == [800.0, 400.0, 200.0]


def test_an_objective_that_is_long_does_not_hide_a_queue_that_grows() -> None:
    """5 ms a row is 200 a second; at 220 it takes 11 s until anybody has waited for one."""
    peak = find_peak(queue(5.0), objective_ms=1000.0, start=110.0, seconds=1.0)
    assert peak.rate is not None
    assert peak.rate < 1.07 * 200


def test_no_rate_may_hold() -> None:
    peak = find_peak(queue(50.0), objective_ms=20.0, start=10.0, seconds=5.0, longest=5.0)
    assert peak.rate is None
    assert "rate" not in peak.to_json()
    assert len(peak.probes) == 5
    assert not peak.slipped


def test_too_few_arrivals_are_no_peak() -> None:
    peak = find_peak(queue(1.0), objective_ms=1000.0, start=2.0, seconds=1.0, longest=1.0)
    assert peak.rate is None
    assert peak.limit == "too few arrivals to tell"


def test_a_generator_that_is_late_ends_the_search_and_says_so() -> None:
    peak = find_peak(queue(0.5, late=lambda rate: rate > 500), objective_ms=30.0, start=100.0, seconds=5.0)
    assert peak.rate is not None
    assert 300 < peak.rate <= 500
    assert peak.slipped
    late = [probe for probe in peak.probes if not probe.valid]
    assert len({probe.rate for probe in late}) * 2 == len(late), "each is tried twice"
    everywhere = find_peak(queue(0.5, late=lambda rate: True), objective_ms=30.0, start=100.0, seconds=1.0)
    assert (everywhere.rate, everywhere.limit, len(everywhere.probes)) == (None, LATE, 6)


def test_a_server_faster_than_the_generator_has_a_peak_that_says_so() -> None:
    peak = find_peak(queue(0.001), objective_ms=30.0, start=6000.0, seconds=0.3)
    assert peak.rate == MOST_RATE
    assert "no more than 8000/s" in peak.limit


def test_what_is_refused_does_not_hold() -> None:
    rate, seconds = 100.0, 30.0
    assert judge_load(queue(1.0)(rate, seconds), 30.0) is True
    assert judge_load(queue(1.0, fails=0.01)(rate, seconds), 30.0) is False
    assert judge_load(queue(1.0)(rate, 1.0), 30.0) is None
    assert judge_load(queue(1.0)(rate, 1e-9), 30.0) is None


def test_long_enough_for_a_p99_and_no_longer() -> None:
    assert long_enough(10_000, 3.0) == 3.0
    assert long_enough(100, 3.0) == ARRIVALS / 100
    assert long_enough(1, 3.0) == 60.0
    assert long_enough(1, 3.0, longest=5.0) == 5.0
    assert long_enough(1, 90.0) == 90.0


def test_steps_are_shares_of_the_peak_each_with_its_own_verdict() -> None:
    steps = open_steps(queue(5.0), 120.0, objective_ms=40.0, seconds=20.0)
    assert [step["share"] for step in steps] == list(SHARES)
    assert [step["offered"] for step in steps] == [share * 120 for share in SHARES]
    assert all(step["holds"] for step in steps)
    assert [step["mean_ms"] for step in steps] == sorted(step["mean_ms"] for step in steps)
    for step in steps:
        assert sum(step["histogram"]["counts"]) == step["right"]
        assert step["goodput"] <= step["rate"]
        assert "repeated" not in step
    late = open_steps(queue(5.0, late=lambda rate: True), 150.0, objective_ms=30.0, seconds=1.0)
    assert all(step["repeated"] and not step["valid"] for step in late)
    json.dumps(steps + late, allow_nan=False)


@contextmanager
def answering() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(SERVER), "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def test_one_connection_is_asked_while_the_server_is_awake() -> None:
    awake: list[str] = []

    @contextmanager
    def wakes() -> Iterator[None]:
        awake.append("in")
        yield
        awake.append("out")

    with answering() as url:
        right = Request("/", b"echo yes", check=lambda body: body == b"yes")
        wrong = Request("/", b"echo no", check=lambda body: body == b"yes")
        found = OverHttp(url, [right, wrong], awake=wakes).run(0.2)
    assert awake == ["in", "out"]
    assert len(found.right) > 4
    assert abs(int(found.right.sum()) - found.wrong) <= 1, "every other answer is not what was expected"
    gone = OverHttp(url, [right]).run(0.1)
    assert not gone.right.any()
    assert gone.p50_ms is None


def test_requests_know_the_answer_of_each_task(tmp_path: Path) -> None:
    text = text_artifact(tmp_path / "text")
    with Predictor.load(text) as predictor:
        (found,) = requests_for(predictor, ["Where is Lisbon ?"])
        answer = predictor(["Where is Lisbon ?"])[0]
    assert (found.path, json.loads(found.body)) == ("/v1/classify", {"inputs": ["Where is Lisbon ?"]})
    assert found.check is not None
    said = {"predictions": [{"label": answer.label, "score": answer.score}]}
    assert found.check(json.dumps(said).encode())
    other = {"predictions": [{"label": "another", "score": answer.score}]}
    less = {"predictions": [{"label": answer.label, "score": answer.score - 0.01}]}
    for bad in (other, less, {}, [], {"predictions": []}, {"predictions": [{}]}):
        assert not found.check(json.dumps(bad).encode())
    assert not found.check(b"\xff")


def test_pictures_and_records_can_be_sent(tmp_path: Path) -> None:
    with Predictor.load(image_artifact(tmp_path / "image")) as predictor:
        array = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
        from_bytes, from_array = requests_for(predictor, [picture(0), array])
        assert json.loads(from_bytes.body)["inputs"][0].startswith("iVBOR"), "a PNG"
        assert json.loads(from_array.body)["inputs"][0].startswith("iVBOR")
    with Predictor.load(recommender_artifact(tmp_path / "films")) as predictor:
        row = {"user": "1", "item": "10", "age": 20}
        (found,) = requests_for(predictor, [row])
        score = float(predictor.probabilities([row])[0, -1])
        assert found.path == "/v1/recommend"
        assert found.check is not None
        assert found.check(json.dumps({"predictions": [{"index": 0, "score": score}]}).encode())
        with pytest.raises(DataError, match="row 1 cannot be sent"):
            requests_for(predictor, [row, {"user": "1", "item": "10", "age": float("nan")}])
