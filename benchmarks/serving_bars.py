"""What issue 4 asks of serving, held against a result of `benchmarks.serving`: held, missed or unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RECOVERY_SECONDS = 5.0


def bars(cases: Mapping[str, Any], *, ours: str, bare: str, bentoml: str, objective_ms: float) -> list[dict[str, str]]:
    """One row a bar: words, wanted, reached, verdict."""
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
    for row in int8[ours].get("overload", []):
        rows += _overload(row, objective_ms)
    rows.append(_wrong(int8, student, ours))
    return rows


def _bar(
    words: str, rows: Mapping[str, Any], names: Sequence[str], wanted: float, read: Any, *, most: bool = False
) -> dict[str, str]:
    """Unknown unless every row that is needed is there and long enough."""
    try:
        value = read([rows[name] for name in names if "unavailable" not in rows[name]])
    except (KeyError, IndexError, TypeError, ValueError):
        value = None
    return _row(words, wanted, value, most=most)


def _row(words: str, wanted: float, value: float | None, *, most: bool) -> dict[str, str]:
    sign = "at most" if most else "at least"
    verdict = "unknown" if value is None else "held" if (value <= wanted if most else value >= wanted) else "missed"
    return {
        "words": words, "wanted": f"{sign} {wanted:g}", "verdict": verdict,
        "reached": "–" if value is None else f"{value:.3g}",
    }  # fmt: skip


def _above_bare(rows: Sequence[Any]) -> float:
    return float(rows[0]["over_bare"]["p50_ms"]["median"])


def _over_bare(rows: Sequence[Any]) -> float:
    return float(rows[0]["over_bare"]["rate"]["median"])


def _over_best(rows: Sequence[Any]) -> float:
    return float(rows[0]["many"]["rate"] / max(row["many"]["rate"] for row in rows[1:]))


def _thirds(rows: Sequence[Any]) -> float:
    if not rows[0]["steady"]["valid"]:
        raise ValueError
    return float(rows[0]["steady"]["last_third"]["p99_ms"] / rows[0]["steady"]["first_third"]["p99_ms"])


def _overload(row: Mapping[str, Any], objective_ms: float) -> list[dict[str, str]]:
    """Goodput, times, Retry-After and recovery at one overload; unknown where the generator slipped."""
    times, valid, refused, peak = row["times"], row["valid"], row.get("refused"), row.get("peak_beside")
    share = row["goodput"] / peak if peak and valid else None
    rows = [
        _row(f"goodput at {times}x of peak over peak", 0.9, share, most=False),
        _row(f"p99 of the admitted at {times}x, ms", objective_ms, row["p99_ms"] if valid else None, most=True),
    ]
    if refused:
        waited = refused["p99_ms"] or refused["max_ms"]
        told = refused["retry_after"] / refused["count"]
        rows += [
            _row(f"p99 of refusals at {times}x, ms", 50.0, waited if valid else None, most=True),
            _row(f"refusals with Retry-After at {times}x", 1.0, told, most=False),
        ]
    else:  # batching may carry twice the peak; a queue without a bound would show as failures
        rows.append(_row(f"success at {times}x, where none was refused", 0.999, row["success_rate"], most=False))
    normal = row["normal_after_seconds"]
    if normal is None and row["watched_seconds"] >= RECOVERY_SECONDS:
        normal = float("inf")  # it was waited for long enough
    return [*rows, _row(f"seconds until normal after {times}x", RECOVERY_SECONDS, normal, most=True)]


def _wrong(int8: Mapping[str, Any], student: Mapping[str, Any], ours: str) -> dict[str, str]:
    """Wrong answers of ours in everything that was measured."""
    parts = []
    for row in (int8[ours], student[ours]):
        steady = [row["steady"]] if "steady" in row else []
        parts += [*(row[name] for name in ("lone", "many") if name in row), *steady]
        parts += [*row.get("ladder", []), *row.get("overload", [])]
    return _row("wrong answers", 0, float(sum(part["wrong"] for part in parts)) if parts else None, most=True)
