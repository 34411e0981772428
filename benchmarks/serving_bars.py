"""What issue 4 asks of serving, held against a result of `benchmarks.serving`.

Where something was measured in several rounds, the verdict is about their median and its interval: held or missed
only where the whole interval is on one side of the bar, unsettled where this machine could not tell. Unknown is what
was not measured. Source of the interval: order statistics, Conover 1999, Practical Nonparametric Statistics, 3.2.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

RECOVERY_SECONDS = 5.0
LEVEL = 0.95

Rows = Sequence[Mapping[str, Any]]


def bars(cases: Mapping[str, Any], *, ours: str, bare: str, bentoml: str, objective_ms: float) -> list[dict[str, str]]:
    """One row a bar: words, wanted, reached (with the ends of its interval), verdict."""
    int8 = {row["name"]: row for row in cases["int8"]["servers"]}
    student = {row["name"]: row for row in cases["student"]["servers"]}
    off = f"{ours}, batching off"
    rows = [
        _bar("p50 at one connection above bare, ms", int8, [ours], 0.3, _above_bare, most=True),
        _bar("rate at 16 connections over bare, batching off", int8, [off], 0.85, _over_bare),
        _bar("rate at 16 connections over bare, batching as it comes", int8, [ours], 1.0, _over_bare),
    ]
    for peer in ("LitServe", "MLServer"):
        best = [name for name in int8 if name.startswith(peer)]
        rows.append(_bar(f"rate at 16 connections over {peer}'s best", int8, [ours, *best], 1.2, _over_best))
    rows += [
        _bar("rate at 16 connections over BentoML, small student", student, [ours, bentoml], 3.0, _over_best),
        _bar("p99 of the last third over the first at half of peak", int8, [ours], 1.2, _thirds, most=True),
    ]
    for floods in zip(*int8[ours].get("overloads", []), strict=True):
        rows += _overload(floods, objective_ms)
    rows.append(_wrong(int8, student, ours))
    return rows


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and an interval that holds the true one 95 times in 100, or the extremes where there are too few."""
    ordered = sorted(values)
    rank, tail = 0, 0.5 ** len(ordered)
    while 2 * tail <= 1 - LEVEL:
        rank += 1
        tail += math.comb(len(ordered), rank) * 0.5 ** len(ordered)
    rank = max(rank - 1, 0)
    return statistics.median(ordered), ordered[rank], ordered[-1 - rank]


def typical(parts: Rows, by: str) -> Mapping[str, Any]:
    """Of the same load repeated, the one whose value `by` is the median, the lower of two; without what slipped."""
    ordered = sorted([part for part in parts if part["valid"]] or parts, key=lambda part: part[by] or 0.0)
    return ordered[(len(ordered) - 1) // 2]


def _bar(
    words: str,
    rows: Mapping[str, Any],
    names: Sequence[str],
    wanted: float,
    read: Callable[[Rows], Sequence[float]],
    *,
    most: bool = False,
) -> dict[str, str]:
    """Unknown unless every row that is needed is there and long enough."""
    try:
        values = read([rows[name] for name in names if "unavailable" not in rows[name]])
    except (KeyError, IndexError, TypeError, ValueError):
        values = []
    return _row(words, wanted, values, most=most)


def _row(words: str, wanted: float, values: Sequence[float], *, most: bool) -> dict[str, str]:
    sign = "at most" if most else "at least"
    row = {"words": words, "wanted": f"{sign} {wanted:g}"}
    if not values:
        return row | {"reached": "–", "verdict": "unknown"}
    middle, low, high = median_interval(values)
    worst, best = (high, low) if most else (low, high)
    good = [value <= wanted if most else value >= wanted for value in (worst, best)]
    verdict = "held" if all(good) else "unsettled" if any(good) else "missed"
    reached = _number(middle) if len(values) == 1 else f"{_number(middle)} ({_number(low)} to {_number(high)})"
    return row | {"reached": reached, "verdict": verdict}


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.3g}"


def _above_bare(rows: Rows) -> Sequence[float]:
    found: Sequence[float] = rows[0]["over_bare"]["p50_ms"]["rounds"]
    return found


def _over_bare(rows: Rows) -> Sequence[float]:
    found: Sequence[float] = rows[0]["over_bare"]["rate"]["rounds"]
    return found


def _over_best(rows: Rows) -> Sequence[float]:
    best = max(rows[1:], key=lambda row: float(row["many"]["rate"]))
    rounds = zip(rows[0]["many"]["rounds_rate"], best["many"]["rounds_rate"], strict=True)
    return [mine / other for mine, other in rounds]


def _thirds(rows: Rows) -> Sequence[float]:
    valid = [one for one in rows[0]["steadies"] if one["valid"]]
    first, last = (_known([one[third] for one in valid], "p99_ms") for third in ("first_third", "last_third"))
    return [b / a for a, b in zip(first, last, strict=True)]


def _known(parts: Rows, name: str) -> list[float]:
    """The values that there are: too few requests have no 99th percentile."""
    return [part[name] for part in parts if part[name] is not None]


def _overload(floods: Rows, objective_ms: float) -> list[dict[str, str]]:
    """Goodput, times, Retry-After and recovery at one overload; what slipped in the generator is left out."""
    times, valid = floods[0]["times"], [flood for flood in floods if flood["valid"]]
    shares = [flood["goodput"] / flood["peak_beside"] for flood in valid if flood.get("peak_beside")]
    rows = [
        _row(f"goodput at {times}x of peak over peak", 0.9, shares, most=False),
        _row(f"p99 of the admitted at {times}x, ms", objective_ms, _known(valid, "p99_ms"), most=True),
    ]
    if refusing := [flood for flood in floods if flood.get("refused")]:
        waited = [flood["refused"]["p99_ms"] or flood["refused"]["max_ms"] for flood in refusing if flood["valid"]]
        told = [flood["refused"]["retry_after"] / flood["refused"]["count"] for flood in refusing]
        rows += [
            _row(f"p99 of refusals at {times}x, ms", 50.0, waited, most=True),
            _row(f"refusals with Retry-After at {times}x", 1.0, told, most=False),
        ]
    else:  # batching may carry twice the peak; a queue without a bound would show as failures
        carried = [flood["success_rate"] for flood in floods]
        rows.append(_row(f"success at {times}x, where none was refused", 0.999, carried, most=False))
    normal = [seconds for flood in floods if (seconds := _normal_after(flood)) is not None]
    return [*rows, _row(f"seconds until normal after {times}x", RECOVERY_SECONDS, normal, most=True)]


def _normal_after(flood: Mapping[str, Any]) -> float | None:
    seconds: float | None = flood["normal_after_seconds"]
    if seconds is None and flood["watched_seconds"] >= RECOVERY_SECONDS:
        return math.inf  # it was waited for long enough
    return seconds


def _wrong(int8: Mapping[str, Any], student: Mapping[str, Any], ours: str) -> dict[str, str]:
    """Wrong answers of ours in everything that was measured."""
    parts = []
    for row in (int8[ours], student[ours]):
        parts += [row[name] for name in ("lone", "many") if name in row]
        parts += [*row.get("steadies", []), *row.get("ladder", [])]
        parts += [flood for floods in row.get("overloads", []) for flood in floods]
    return _row("wrong answers", 0, [float(sum(part["wrong"] for part in parts))] if parts else [], most=True)
