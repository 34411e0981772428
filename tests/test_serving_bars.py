"""The bars of the serving benchmark: held, missed, unsettled, unknown, from rows as it writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.serving_bars import bars, median_interval

ROUNDS = 8


def load(rate: float = 500.0, wrong: int = 0) -> dict[str, Any]:
    return {"rate": rate, "rounds_rate": [rate] * ROUNDS, "wrong": wrong}


def over_bare(p50_ms: float, rate: float) -> dict[str, Any]:
    return {"p50_ms": {"rounds": [p50_ms] * ROUNDS}, "rate": {"rounds": [rate] * ROUNDS}}


def steady(first: float, last: float, *, valid: bool = True) -> dict[str, Any]:
    return {"valid": valid, "wrong": 0, "first_third": {"p99_ms": first}, "last_third": {"p99_ms": last}}


def flood(times: int, **changed: Any) -> dict[str, Any]:
    refused = {"count": 100, "retry_after": 100, "p99_ms": 8.0, "max_ms": 9.0}
    row = {
        "times": times,
        "valid": True,
        "goodput": 470.0,
        "peak_beside": 500.0,
        "p99_ms": 80.0,
        "refused": refused,
        "wrong": 0,
    }
    return {**row, "success_rate": 0.5, "normal_after_seconds": 0.5, "watched_seconds": 7.1, **changed}


def server(name: str, rate: float, **changed: Any) -> dict[str, Any]:
    return {"name": name, "lone": load(), "many": load(rate), "over_bare": over_bare(0.1, rate / 550), **changed}


def verdicts(ours: dict[str, Any], *, litserve: float = 369.0) -> dict[str, str]:
    whole = server("toolkit serve", 600, steadies=[steady(5.0, 5.5)], ladder=[], overloads=[[flood(2)]])
    rows = [
        server("bare uvicorn", 550), whole | ours, server("toolkit serve, batching off", 500),
        server("LitServe", litserve), {"name": "MLServer", "unavailable": "it said no"},
    ]  # fmt: skip
    small = [server("toolkit serve", 5000), server("BentoML", 700)]
    found = bars(
        {"int8": {"servers": rows}, "student": {"servers": small}},
        ours="toolkit serve", bare="bare uvicorn", bentoml="BentoML", objective_ms=100.0,
    )  # fmt: skip
    return {bar["words"]: bar["verdict"] for bar in found}


def test_what_is_within_is_held_and_a_peer_that_could_not_run_decides_nothing() -> None:
    found = verdicts({})
    assert found.pop("rate at 16 connections over MLServer's best") == "unknown"
    assert set(found.values()) == {"held"}
    assert len(found) >= 11


def test_a_slower_server_a_rising_p99_and_a_wrong_answer_are_missed() -> None:
    slow = {"over_bare": over_bare(0.31, 0.9), "lone": load(wrong=1)}
    rising = {"steadies": [steady(5.0, 6.1)]}
    found = verdicts(slow | rising, litserve=501.0)
    assert [words for words, verdict in found.items() if verdict == "missed"] == [
        "p50 at one connection above bare, ms",
        "rate at 16 connections over bare, batching as it comes",
        "rate at 16 connections over LitServe's best",
        "p99 of the last third over the first at half of peak",
        "wrong answers",
    ]


def test_a_run_whose_generator_slipped_decides_nothing() -> None:
    found = verdicts({"overloads": [[flood(2, valid=False)]]})
    assert found["goodput at 2x of peak over peak"] == found["p99 of refusals at 2x, ms"] == "unknown"


def test_too_few_for_a_p99_decide_nothing() -> None:
    found = verdicts({"overloads": [[flood(2, p99_ms=None)]], "steadies": [steady(5.0, 5.0, valid=False)]})
    assert found["p99 of the admitted at 2x, ms"] == "unknown"
    assert found["p99 of the last third over the first at half of peak"] == "unknown"


def test_an_overload_without_refusals_must_have_succeeded() -> None:
    carried = verdicts({"overloads": [[flood(2, refused=None, success_rate=1.0)]]})
    assert carried["success at 2x, where none was refused"] == "held"
    drowned = verdicts({"overloads": [[flood(2, refused=None, normal_after_seconds=None, goodput=20.0)]]})
    assert drowned["success at 2x, where none was refused"] == "missed"
    assert drowned["goodput at 2x of peak over peak"] == "missed"
    assert drowned["seconds until normal after 2x"] == "missed"
    left_early = verdicts({"overloads": [[flood(2, normal_after_seconds=None, watched_seconds=2.1)]]})
    assert left_early["seconds until normal after 2x"] == "unknown"


def test_refusals_without_retry_after_or_too_late_are_missed() -> None:
    refused = {"count": 100, "retry_after": 99, "p99_ms": 51.0, "max_ms": 60.0}
    found = verdicts({"overloads": [[flood(2, refused=refused)]]})
    assert found["refusals with Retry-After at 2x"] == found["p99 of refusals at 2x, ms"] == "missed"


def test_what_the_machine_could_not_tell_is_unsettled() -> None:
    noisy = {"p50_ms": {"rounds": [0.1, 0.2, 0.4, 0.2, 0.1, 0.5, 0.2, 0.6]}, "rate": {"rounds": [0.7, 1.1] * 4}}
    found = verdicts({"over_bare": noisy, "steadies": [steady(5, 5), steady(5, 8), steady(5, 9, valid=False)]})
    for words in (
        "p50 at one connection above bare, ms",
        "rate at 16 connections over bare, batching as it comes",
        "p99 of the last third over the first at half of peak",
    ):
        assert found[words] == "unsettled"


def test_floods_that_were_repeated_decide_together_and_those_that_slipped_do_not() -> None:
    found = verdicts({"overloads": [[flood(2)], [flood(2, goodput=300.0, normal_after_seconds=None)], [flood(2)]]})
    assert found["goodput at 2x of peak over peak"] == found["seconds until normal after 2x"] == "unsettled"
    found = verdicts({"overloads": [[flood(2)], [flood(2, goodput=300.0, valid=False)], [flood(2)]]})
    assert found["goodput at 2x of peak over peak"] == "held"
    drowned = verdicts({"overloads": [[flood(2, goodput=200.0)] for _ in range(3)]})
    assert drowned["goodput at 2x of peak over peak"] == "missed"


@pytest.mark.parametrize("rounds", [6, 9, 24])
def test_the_interval_holds_the_true_median_as_often_as_it_says(rounds: int) -> None:
    drawn = np.random.default_rng(0).exponential(size=(2000, rounds))
    held = [low <= math.log(2) <= high for _, low, high in map(median_interval, drawn.tolist())]
    assert 0.94 < np.mean(held) < 0.99


def test_few_rounds_give_their_extremes() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert median_interval([4.0, math.inf]) == (math.inf, 4.0, math.inf)
