"""Turns and what they come to: the order of rounds, checked answers, honest percentiles, whole histograms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import digits_models as models
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import DataError, RecipeError
from toolkit.measure.ladder import PREDICTOR, RUNNER, measure_rungs
from toolkit.measure.rung import compare_rungs, histogram, rung_json, unsteady
from toolkit.measure.turns import OneByOne, Stretch, predictor_subject, runner_subject, spread
from toolkit.predictor import Predictor

EXAMPLES = models.held_out(20).examples


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    with Predictor.load(models.make_artifact(tmp_path_factory.mktemp("rungs") / "digits")) as loaded:
        yield loaded


class Noted:
    """A subject that writes down when its turn was, and answers in a time that is given."""

    def __init__(self, name: str, notes: list[str], milliseconds: float = 1.0) -> None:
        self.name, self.notes, self.nanoseconds = name, notes, int(milliseconds * 1e6)

    def run(self, seconds: float) -> Stretch:
        self.notes.append(self.name)
        return Stretch(np.full(100, self.nanoseconds), np.ones(100, dtype=bool))


def stretch(milliseconds: list[float], right: list[bool] | None = None) -> Stretch:
    answers = np.array(right if right is not None else [True] * len(milliseconds), dtype=bool)
    nanoseconds = np.array([round(ms * 1e6) for ms in milliseconds], dtype=np.int64)
    return Stretch(nanoseconds, answers, int((~answers).sum()))


def test_rounds_are_a_b_c_a_then_a_c_b_a() -> None:
    notes: list[str] = []
    subjects = [{RUNNER: Noted(name, notes), PREDICTOR: Noted(name.upper(), notes)} for name in "abc"]
    told: list[Any] = []
    turns = measure_rungs(
        subjects, rounds=2, seconds=1.0, progress=lambda *words: told.append(words)
    )  # fmt: skip
    assert "".join(notes) == "aAbBcC" + "abcaABCA" + "acbaACBA"  # the first pass warms up
    assert [len(found[RUNNER]) for found in turns.of] == [2, 2, 2]
    assert [len(turns.again[rung]) for rung in (RUNNER, PREDICTOR)] == [2, 2]
    assert told[-1][1:3] == (4, 4)
    assert turns.gaps("abc") == []


def test_an_artifact_may_lack_a_rung() -> None:
    notes: list[str] = []
    subjects = [{RUNNER: Noted("a", notes)}, {RUNNER: Noted("b", notes), PREDICTOR: Noted("B", notes)}]
    turns = measure_rungs(subjects, rounds=1, seconds=1.0)
    assert list(turns.rungs(0)) == [RUNNER]
    assert list(turns.rungs(1)) == [RUNNER, PREDICTOR]
    assert PREDICTOR not in turns.again, "only the first artifact is measured twice"


@pytest.mark.parametrize(("rounds", "seconds"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_nothing_to_measure_is_refused(rounds: int, seconds: float) -> None:
    with pytest.raises(RecipeError):
        measure_rungs([{RUNNER: Noted("a", [])}], rounds=rounds, seconds=seconds)
    with pytest.raises(RecipeError):
        measure_rungs([], rounds=1, seconds=1.0)
    with pytest.raises(DataError):
        measure_rungs([{}], rounds=1, seconds=1.0)


def test_a_round_without_a_right_answer_is_a_gap() -> None:
    turns = measure_rungs([{RUNNER: Noted("a", [])}], rounds=2, seconds=1.0)
    turns.of[0][RUNNER][1] = stretch([1.0, 2.0], [False, False])
    assert turns.gaps(["model"]) == ["model, runner: no right answer in round 2 of 2"]
    assert turns.rungs(0)[RUNNER]["rounds_p50_ms"] == [1.0, None]


def test_a_predictor_and_its_runner_answer_right(predictor: Predictor) -> None:
    rows = spread(EXAMPLES)
    lower, upper = runner_subject(predictor, rows).run(0.2), predictor_subject(predictor, rows).run(0.2)
    for found in (lower, upper):
        assert found.right.all()
        assert found.wrong == 0
        assert len(found.nanoseconds) >= len(rows)
    # the quickest run of each: what disturbs only ever adds
    assert lower.nanoseconds.min() < upper.nanoseconds.min()


def test_an_answer_that_moves_is_wrong(predictor: Predictor) -> None:
    turn = [0]

    def flipped(arrays: Any) -> Any:
        turn[0] += 1
        logits = predictor.runner.run(arrays)
        return -logits if turn[0] % 5 == 0 else logits

    subject = runner_subject(predictor, EXAMPLES)
    subject._ask = flipped
    found = subject.run(0.1)
    assert found.wrong == len(found.right) // 5
    assert rung_json([found])["success_rate"] == pytest.approx(1 - found.wrong / len(found.right))


def test_rows_go_on_where_the_last_turn_ended() -> None:
    asked: list[int] = []
    subject = OneByOne(asked.append, [0, 1, 2], [None] * 3, lambda found, expected: found is expected)
    for _ in range(5):
        subject.run(0)  # one row each
    assert asked == [0, 1, 2, 0, 1]


@given(st.integers(1, 1000), st.integers(1, 300))
def test_rows_are_spread_evenly(count: int, most: int) -> None:
    found = spread(range(count), most)
    assert len(found) == min(count, most)
    assert found[0] == 0
    gaps = np.diff(found)
    assert len(gaps) == 0 or 0 < gaps.min() <= gaps.max() <= gaps.min() + 1


@given(st.lists(st.floats(1e-5, 1e5), max_size=300))
def test_a_histogram_loses_no_sample(times: list[float]) -> None:
    found = histogram(np.array(times))
    edges, counts = found["edges_ms"], found["counts"]
    assert sum(counts) == len(times)
    if times:
        assert len(edges) == len(counts) + 1
        assert (np.diff(edges) > 0).all()
        assert edges[0] <= min(times) * (1 + 1e-9)
        assert max(times) <= edges[-1] * (1 + 1e-9)
        again = np.histogram(times, bins=np.array(edges) * (1 - 1e-12))[0]
        assert np.abs(np.cumsum(again) - np.cumsum(counts)).max() <= sum(
            any(abs(time / edge - 1) < 1e-9 for edge in edges) for time in times
        )


def test_percentiles_need_ten_beyond_them_and_right_answers_only() -> None:
    found = rung_json([stretch([1.0] * 500 + [900.0], [True] * 500 + [False]), stretch([2.0] * 499)])
    assert (found["asked"], found["right"], found["wrong"], found["samples"]) == (1000, 999, 1, 999)
    assert (found["p50_ms"], found["p90_ms"], found["max_ms"]) == (1.0, 2.0, 2.0)
    assert found["p99_ms"] is None
    assert found["p999_ms"] is None
    assert found["rounds_p50_ms"] == [1.0, 2.0]
    assert (found["first_third"]["p50_ms"], found["last_third"]["p50_ms"]) == (1.0, 2.0)
    assert unsteady(found) == 2.0
    assert "again_p50_ms" not in found
    json.dumps(found, allow_nan=False)


def test_nothing_right_has_no_times() -> None:
    found = rung_json([stretch([1.0], [False]), stretch([])])
    assert (found["asked"], found["right"], found["success_rate"], found["mean_ms"]) == (1, 0, 0.0, None)
    assert found["rounds_p50_ms"] == [None, None]
    assert unsteady(found) is None
    json.dumps(found, allow_nan=False)


def entry(name: str, rounds: list[float], again: list[float] | None = None) -> dict[str, Any]:
    turns = [stretch([ms] * 30) for ms in rounds]
    return {"name": name, "rungs": {"runner": rung_json(turns, [stretch([ms] * 30) for ms in again or []])}}


def test_a_ratio_is_of_the_same_rounds_and_beyond_the_noise_only_whole() -> None:
    slow = entry("a", [10.0, 20.0, 10.0, 10.0, 30.0], [10.1, 19.9, 10.0, 10.1, 29.8])
    floors, ratios = compare_rungs([slow, entry("b", [5.0, 10.0, 5.0, 5.0, 15.0]), entry("c", [10.05, 20, 10, 10, 30])],
                                   seed=0)  # fmt: skip
    assert 1 < floors["runner"] < 1.02
    half, same = ratios
    assert (half["artifact"], half["against"], half["rung"]) == ("b", "a", "runner")
    assert half["ratio"] == pytest.approx(0.5)
    assert half["beyond_noise"] is True
    assert same["beyond_noise"] is False


def test_four_rounds_show_no_difference() -> None:
    floors, ratios = compare_rungs([entry("a", [10.0] * 4, [10.0] * 4), entry("b", [1.0] * 4)], seed=0)
    assert floors["runner"] == 1.0
    assert ratios[0]["ratio"] == pytest.approx(0.1)
    assert ratios[0]["beyond_noise"] is False


def test_a_rung_with_a_gap_is_not_compared() -> None:
    first, second = entry("a", [10.0] * 5, [10.0] * 5), entry("b", [1.0] * 5)
    second["rungs"]["runner"]["rounds_p50_ms"][2] = None
    assert compare_rungs([first, second], seed=0)[1] == []
    first["rungs"]["runner"]["rounds_p50_ms"][2] = None
    assert compare_rungs([first, second], seed=0) == ({}, [])


def test_two_sizes_of_a_model_are_told_apart(predictor: Predictor, tmp_path: Path) -> None:
    """Three rows a call beside one: real sessions, interleaved."""
    rows = [predictor.encoder.encode([example]) for example in EXAMPLES]
    answers = [predictor.runner.run(row) for row in rows]

    def thrice(row: Any) -> Any:
        predictor.runner.run(row)
        predictor.runner.run(row)
        return predictor.runner.run(row)

    def same(found: Any, expected: Any) -> bool:
        return bool(np.array_equal(found, expected))

    once, often = OneByOne(predictor.runner.run, rows, answers, same), OneByOne(thrice, rows, answers, same)
    turns = measure_rungs([{RUNNER: often}, {RUNNER: once}], rounds=7, seconds=0.35, warmup=0.02)
    _, ratios = compare_rungs([{"name": name, "rungs": turns.rungs(place)} for place, name in enumerate("ab")], seed=0)
    assert ratios[0]["ratio"] < 0.75
