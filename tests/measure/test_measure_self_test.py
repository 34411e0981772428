"""The generators see a real stall; the judge catches one that cannot, and one that was never tried."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from toolkit.errors import RecipeError
from toolkit.measure.self_test import CLOSED, LOADGEN, OURS, SelfTest, Sighting, judge, run_self_test


@pytest.fixture(scope="module")
def done() -> SelfTest:
    """A whole one, a third as long as usual."""
    return run_self_test(seconds=2.8, stall_seconds=0.5, rate=500)


def test_both_generators_show_the_stall_and_the_closed_loop_hides_it(done: SelfTest) -> None:
    assert done.passed, done.words
    for name in (OURS, LOADGEN):
        seen = done.sightings[name]
        assert seen.p99_ms is not None
        assert 250 <= seen.p99_ms < 1500
        assert seen.success_rate == 1.0
        assert seen.asked > 1000
    hidden = done.sightings[CLOSED]
    assert hidden.p99_ms is not None
    assert hidden.p99_ms < 250
    assert "hidden" in judge(hidden, 500.0)


def test_what_the_generators_cost_is_said(done: SelfTest) -> None:
    assert done.cost_ms.keys() == {"ours", LOADGEN}
    for cost in done.cost_ms.values():
        assert cost is not None
        assert 0 < cost < 50
    assert "what the generator costs" in done.words[-2]
    assert done.words[-1] == "the generators are fit"
    assert len(done.words) == 6
    value = done.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["passed"] is True


def test_a_generator_that_hides_the_stall_fails_the_test(done: SelfTest) -> None:
    for name in (OURS, LOADGEN):
        unfit = replace(done, sightings={**done.sightings, name: done.sightings[CLOSED]})
        assert not unfit.passed
        assert unfit.failures[0].startswith(f"{name}: p99 is")
        assert unfit.words[-1].startswith("UNFIT")


def test_a_judge_that_finds_nothing_fails_the_test(done: SelfTest) -> None:
    blind = replace(done, sightings={**done.sightings, CLOSED: done.sightings[OURS]})
    assert blind.failures == ("closed loop: passed, though it cannot see a stall; the judge finds nothing",)
    empty = replace(done, sightings={**done.sightings, CLOSED: Sighting(None, None, 5, 1.0, True)})
    assert "nothing is shown" in empty.failures[0]


@pytest.mark.parametrize(
    ("sighting", "words"),
    [
        (Sighting(950.0, 5.0, 1600, 1.0, True), ""),
        (Sighting(500.0, 5.0, 1600, 1.0, True), ""),
        (Sighting(499.9, 5.0, 1600, 1.0, True), "the stall is hidden"),
        (Sighting(2.4, 2.0, 1600, 1.0, True), "the stall is hidden"),
        (Sighting(None, 5.0, 900, 1.0, True), "too few for a p99"),
        (Sighting(950.0, 600.0, 1600, 1.0, True), "too busy to tell"),
    ],
)
def test_the_judge(sighting: Sighting, words: str) -> None:
    found = judge(sighting, 1000.0)
    assert found.endswith(words)
    assert bool(found) is bool(words)


def test_the_cores_are_given_back(done: SelfTest) -> None:
    assert done.passed
    assert len(os.sched_getaffinity(0)) == len(os.sched_getaffinity(os.getppid()))


def test_what_tests_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="tests nothing"):
        run_self_test(seconds=2, stall_seconds=1.5)
    with pytest.raises(RecipeError, match="1,200"):
        run_self_test(seconds=4, rate=100)
