"""Costs, trials and candidates by a few numbers, for tests of what chooses among them."""

from __future__ import annotations

from toolkit.optimize.candidates import Candidate
from toolkit.optimize.plan import Plan
from toolkit.optimize.trial import MADE, Cost, Made, Point, Trial


def cost(mean: float, size: int = 1_000_000, p99: float | None = None) -> Cost:
    return Cost(p50_ms=mean, mean_ms=mean, p99_ms=2 * mean if p99 is None else p99, size_bytes=size)


def trial(
    number: int, plan: Plan, score: float, mean: float, *, size: int = 1_000_000, curve: tuple[Point, ...] = ()
) -> Trial:
    found = cost(mean, size)
    return Trial(
        number, plan, MADE, "made", shape=found, curve=curve or (Point(1.0, score, 10.0),),
        made=(Made("int8", f"trials/{number}", "0" * 64, score, found),), seconds=10.0,
    )  # fmt: skip


def candidate(name: str, score: float, mean: float, *, size: int = 1_000_000, reference: float = 0.95) -> Candidate:
    found = cost(mean, size)
    return Candidate(name, name, score, reference - score, found, Made("int8", name, "0" * 64, score, found))
