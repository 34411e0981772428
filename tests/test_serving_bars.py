"""The bars of the serving benchmark: held, missed and unknown are told apart, from rows as it writes them."""

from __future__ import annotations

from typing import Any

from benchmarks.serving_bars import bars


def load(rate: float = 500.0, wrong: int = 0) -> dict[str, Any]:
    return {"rate": rate, "wrong": wrong}


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
    over = {"p50_ms": {"median": 0.1}, "rate": {"median": rate / 550}}
    return {"name": name, "lone": load(), "many": load(rate), "over_bare": over, **changed}


def verdicts(ours: dict[str, Any], *, litserve: float = 369.0) -> dict[str, str]:
    steady = {"valid": True, "wrong": 0, "first_third": {"p99_ms": 5.0}, "last_third": {"p99_ms": 5.5}}
    whole = server("toolkit serve", 600, steady=steady, ladder=[], overload=[flood(2)])
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
    slow = {"over_bare": {"p50_ms": {"median": 0.31}, "rate": {"median": 0.9}}, "lone": load(wrong=1)}
    rising = {"steady": {"valid": True, "wrong": 0, "first_third": {"p99_ms": 5.0}, "last_third": {"p99_ms": 6.1}}}
    found = verdicts(slow | rising, litserve=501.0)
    assert [words for words, verdict in found.items() if verdict == "missed"] == [
        "p50 at one connection above bare, ms",
        "rate at 16 connections over bare, batching as it comes",
        "rate at 16 connections over LitServe's best",
        "p99 of the last third over the first at half of peak",
        "wrong answers",
    ]


def test_a_run_whose_generator_slipped_decides_nothing() -> None:
    found = verdicts({"overload": [flood(2, valid=False)]})
    assert found["goodput at 2x of peak over peak"] == found["p99 of refusals at 2x, ms"] == "unknown"


def test_an_overload_without_refusals_must_have_succeeded() -> None:
    carried = verdicts({"overload": [flood(2, refused=None, success_rate=1.0)]})
    assert carried["success at 2x, where none was refused"] == "held"
    drowned = verdicts({"overload": [flood(2, refused=None, normal_after_seconds=None, goodput=20.0)]})
    assert drowned["success at 2x, where none was refused"] == "missed"
    assert drowned["goodput at 2x of peak over peak"] == "missed"
    assert drowned["seconds until normal after 2x"] == "missed"
    left_early = verdicts({"overload": [flood(2, normal_after_seconds=None, watched_seconds=2.1)]})
    assert left_early["seconds until normal after 2x"] == "unknown"


def test_refusals_without_retry_after_or_too_late_are_missed() -> None:
    refused = {"count": 100, "retry_after": 99, "p99_ms": 51.0, "max_ms": 60.0}
    found = verdicts({"overload": [flood(2, refused=refused)]})
    assert found["refusals with Retry-After at 2x"] == found["p99 of refusals at 2x, ms"] == "missed"
