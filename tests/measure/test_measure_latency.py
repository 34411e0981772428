"""A real ONNX Runtime session on the clock: samples, checked answers, rounds and the noise between them."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path

import digits_models as models
import pytest

from toolkit.errors import DataError, RecipeError
from toolkit.measure.conditions import Conditions, Watch
from toolkit.measure.latency import measure_interleaved, measure_latency
from toolkit.measure.timings import Comparison, Latency
from toolkit.measure.turns import MAX_EXAMPLES
from toolkit.predictor import Predictor
from toolkit.runners.cancel import Cancel
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Arrays

EXAMPLES = models.held_out(300).examples


class Slower(OnnxRunner):
    """The same session, a millisecond later."""

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        time.sleep(0.001)
        return super().run(arrays)


class Flaky(OnnxRunner):
    """A session whose every tenth answer after the first 1,000 is upside down, as bad memory might do."""

    runs = 0

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        self.runs += 1
        logits = super().run(arrays)
        return -logits if self.runs > 1000 and self.runs % 10 == 0 else logits


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    with Predictor.load(models.make_artifact(tmp_path_factory.mktemp("timed") / "digits")) as loaded:
        yield loaded


def with_runner(predictor: Predictor, kind: type[OnnxRunner]) -> Predictor:
    assert predictor.artifact is not None
    runner = kind.open(predictor.artifact, threads=1, provider="cpu")
    return Predictor(predictor.encoder, runner, predictor.spec)


def test_it_runs_for_as_long_as_asked_and_keeps_every_sample(predictor: Predictor) -> None:
    start = time.perf_counter()
    latency = measure_latency(predictor, EXAMPLES, seconds=0.4, warmup=0.05)
    assert 0.4 <= time.perf_counter() - start < 5
    assert sum(latency.samples_ns) <= 0.5e9
    assert len(latency.samples_ns) >= 1000
    assert latency.wrong == 0
    assert latency.examples == MAX_EXAMPLES
    assert latency.p50_ms is not None
    assert latency.p99_ms is not None
    assert latency.p50_ms <= latency.p99_ms


def test_the_facts_are_the_sessions_own(predictor: Predictor) -> None:
    latency = measure_latency(predictor, EXAMPLES[:5], seconds=0.05, warmup=0)
    assert latency.facts == predictor.runner.facts()
    assert latency.facts["provider"] == "CPUExecutionProvider"
    assert latency.to_json()["runtime"]["threads"] == 1


def test_json_is_json_and_samples_come_only_when_asked(predictor: Predictor) -> None:
    latency = measure_latency(predictor, EXAMPLES[:30], seconds=0.1, warmup=0)
    value = latency.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["success_rate"] == 1
    assert value["samples"] == len(latency.samples_ns)
    assert value["p50_ms"] == latency.p50_ms
    assert "samples_us" not in value
    assert len(latency.to_json(samples=True)["samples_us"]) == value["samples"]


def test_wrong_answers_are_counted(predictor: Predictor) -> None:
    latency = measure_latency(with_runner(predictor, Flaky), EXAMPLES[:50], seconds=0.4, warmup=0)
    assert 0 < latency.wrong < len(latency.samples_ns)
    assert latency.to_json()["success_rate"] == pytest.approx(1 - latency.wrong / len(latency.samples_ns))
    assert latency.to_json()["success_rate"] < 0.99


def test_the_garbage_collector_is_left_as_it_was(predictor: Predictor) -> None:
    assert gc.isenabled()
    measure_latency(predictor, EXAMPLES[:5], seconds=0.02, warmup=0)
    assert gc.isenabled()
    gc.disable()
    try:
        measure_latency(predictor, EXAMPLES[:5], seconds=0.02, warmup=0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_slower_model_is_a_difference_and_the_same_model_is_not(predictor: Predictor) -> None:
    slower = with_runner(predictor, Slower)
    told: list[tuple[int, int]] = []
    compared = measure_interleaved(
        [predictor, slower, predictor],
        EXAMPLES,
        rounds=4,
        seconds=0.4,
        warmup=0.02,
        progress=lambda stage, done, total, words="": told.append((done, total)),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert compared.ratio(1, 0).low > 3
    assert compared.is_difference(0, 1)
    assert compared.is_difference(1, 0)
    same = compared.ratio(0, 2)
    assert same.low <= same.median <= same.high
    assert 0.5 < same.median < 2
    assert [len(row) for row in compared.medians_ms] == [4] * 4
    assert len(compared.latencies) == 3


def test_no_difference_below_the_noise() -> None:
    nothing = Latency((1,), 1, 0, {}, Conditions(None, None))
    noisy = Comparison((nothing, nothing), ((1.0, 1.1, 1.2), (1.0, 1.1, 0.9)))
    assert not noisy.is_difference(0, 1)
    steady = Comparison((nothing, nothing), ((1.0, 1.1, 1.02), (1.0, 1.12, 0.99)))
    assert steady.is_difference(0, 1)
    assert (steady.noise.low, steady.noise.high) == (1 / 1.02, 1 / 0.99)
    assert steady.to_json()["first_over_each"][0]["beyond_noise"] is True
    mixed = Comparison((nothing, nothing), ((1.0, 1.1, 1.0), (1.0, 0.9, 1.0)))
    assert not mixed.is_difference(0, 1)


def test_what_cannot_be_measured_is_refused(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="no example"):
        measure_latency(predictor, [])
    with pytest.raises(RecipeError, match="seconds is 0"):
        measure_latency(predictor, EXAMPLES, seconds=0)
    with pytest.raises(RecipeError, match="0 predictors"):
        measure_interleaved([], EXAMPLES)
    with pytest.raises(RecipeError, match="in 0 rounds"):
        measure_interleaved([predictor], EXAMPLES, rounds=0)


def test_conditions_are_shares_of_what_passed() -> None:
    watch = Watch()
    sum(range(2_000_000))
    conditions = watch.conditions()
    assert conditions.load_average is None or conditions.load_average >= 0
    assert conditions.steal_share is None or 0 <= conditions.steal_share <= 1
    assert set(conditions.to_json()) == {"load_average", "steal_share"}


def test_steal_is_read_from_the_kernels_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr("toolkit.measure.conditions._STAT", stat)
    stat.write_text("cpu  100 0 0 100 0 0 0 10 0 0\ncpu0 1 1 1 1 1 1 1 1\n")
    watch = Watch()
    stat.write_text("cpu  150 0 0 140 0 0 0 20 0 0\ncpu0 1 1 1 1 1 1 1 1\n")
    assert watch.conditions().steal_share == pytest.approx(0.1)
    stat.unlink()
    assert watch.conditions().steal_share is None
