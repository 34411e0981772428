"""What may be the answer: every artifact that was made, and every pair of them as a cascade.

A pair costs no training. Both members' answers to the validation rows are known, so the threshold, the share that
is deferred and the accuracy of the two together are known too; its latency is expected from theirs until the pair
is built and measured.

Hundreds of pairs times thirty shares are as many chances to be lucky on a few hundred rows, so luck is not believed: a
cascade counts as no better than its large member, and its share is one from which on every larger one holds the
budget too. (Taken at the first share that held, TREC's fastest pair stood at its reference on validation rows, 0.7
points above its own large member, and lost 1.7 on test rows.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.compress.thresholds import choose_share
from toolkit.optimize.budget import OBJECTIVES, Budget
from toolkit.optimize.trial import Cost, Made
from toolkit.optimize.weighing import paired_error
from toolkit.routing import Router, margins
from toolkit.spec import Array, softmax

# a small member that takes more of the large one's time than this leaves a cascade nothing to win
QUICK = 0.6
# shares of the rows that may be deferred
SHARES = tuple(share / 40 for share in range(1, 32))


@dataclass(frozen=True)
class Candidate:
    """One possible answer: `score` on validation rows and `drop` from the model that came; `cost` as measured.

    A cascade has two `members` (names of single candidates), a `router` and an expected cost.
    """

    name: str
    words: str
    score: float
    drop: float
    cost: Cost
    made: Made | None = None
    members: tuple[str, ...] = ()
    router: Router | None = None
    error: float = 0.0

    def misses(self, budget: Budget) -> tuple[str, ...]:
        """By how much it misses each limit, in words."""
        cost = self.cost
        return budget.misses(drop=self.drop, p99_ms=cost.p99_ms, size_bytes=cost.size_bytes, error=self.error)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "plan": self.words,
            "validation": {"score": self.score, "drop": self.drop, "standard_error": self.error},
            "cost": self.cost.to_json(),
            "cost_is": "expected from its members" if self.members else "measured",
            "members": list(self.members),
            "router": self.router.to_json() if self.router else None,
        }


def pair_up(
    singles: Sequence[Candidate], answers: Mapping[str, Array], labels: Array, reference: Array, budget: Budget
) -> list[Candidate]:
    """Every cascade of two singles worth having, at the smallest share of `SHARES` from which on the drop is kept.

    `answers` are validation logits after the temperature by name, `reference` those of the model that came.
    """
    right = reference.argmax(axis=1) == labels
    hits = {single.name: answers[single.name].argmax(axis=1) == labels for single in singles}
    unsure = {s.name: np.argsort(margins(softmax(answers[s.name])), kind="stable") for s in singles}
    found = []
    for small, large in itertools.permutations(singles, 2):
        if small.cost.mean_ms >= QUICK * large.cost.mean_ms or small.score >= large.score:
            continue
        order = unsure[small.name]
        least = float(right.mean() - hits[large.name].mean())
        kept: tuple[float, float] | None = None
        for share in (1.0, *reversed(SHARES)):
            together = hits[small.name].copy()
            deferred = order[: round(share * len(order))]
            together[deferred] = hits[large.name][deferred]
            drop, error = float(right.mean() - together.mean()), paired_error(right, together)
            if budget.misses(drop=max(drop, least), p99_ms=None, size_bytes=0, error=error):
                break
            kept = (share, error) if share < 1.0 else None
        if kept is not None:
            share, error = kept
            router = choose_share(answers[small.name], answers[large.name], labels, share=share)
            found.append(_join(small, large, router, float(right.mean()), error))
    return _front(found)


def _join(small: Candidate, large: Candidate, router: Router, reference: float, error: float) -> Candidate:
    score = min(router.accuracy, large.score)
    return Candidate(
        name=f"{small.name}+{large.name}",
        words=f"cascade: {router.share:.0%} of rows go from {small.words} to {large.words}",
        score=score,
        drop=reference - score,
        cost=expect_cost(small.cost, large.cost, router.share),
        members=(small.name, large.name),
        router=router,
        error=error,
    )


def expect_cost(small: Cost, large: Cost, share: float) -> Cost:
    """The cost of a cascade from its members': the small one always runs, the large one on `share` of the rows."""
    both = small.p50_ms + large.p50_ms
    late = None if large.p99_ms is None or small.p99_ms is None else small.p50_ms + large.p99_ms
    return Cost(
        p50_ms=small.p50_ms if share < 0.5 else both,
        mean_ms=small.mean_ms + share * large.mean_ms,
        p99_ms=late if share >= 0.01 else small.p99_ms,
        size_bytes=small.size_bytes + large.size_bytes,
    )


def choose(candidates: Sequence[Candidate], budget: Budget) -> Candidate:
    """The best by the objective among those that hold the budget; else the one that misses it least."""
    quantity = OBJECTIVES[budget.objective]
    held = [candidate for candidate in candidates if not candidate.misses(budget)]
    if held:
        return min(held, key=lambda c: (getattr(c.cost, quantity), c.drop))
    return min(
        candidates,
        key=lambda c: (
            budget.excess(drop=c.drop, p99_ms=c.cost.p99_ms, size_bytes=c.cost.size_bytes, error=c.error),
            c.cost.mean_ms,
        ),
    )


def dominator(candidate: Candidate, others: Sequence[Candidate]) -> Candidate | None:
    """One of `others` that is as good in score, p99, mean and size and better in one; None on the Pareto set."""
    return next((other for other in others if other is not candidate and _dominates(other, candidate)), None)


def find_pareto(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other is better than in everything, the fastest first."""
    found = [candidate for candidate in candidates if dominator(candidate, candidates) is None]
    return sorted(found, key=lambda candidate: candidate.cost.mean_ms)


def _dominates(first: Candidate, second: Candidate) -> bool:
    ours, theirs = _quantities(first), _quantities(second)
    return all(a <= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def _quantities(candidate: Candidate) -> tuple[float, ...]:
    cost = candidate.cost
    return (candidate.drop, cost.mean_ms, cost.p99_ms or float("inf"), float(cost.size_bytes))


def _front(pairs: Sequence[Candidate]) -> list[Candidate]:
    """Pairs that no other pair beats in score, mean and size: there are hundreds, and most are a shade of another."""
    kept = []
    for pair in pairs:
        ours = (pair.drop, pair.cost.mean_ms, pair.cost.size_bytes)
        beaten = any(
            other is not pair
            and all(a <= b for a, b in zip((other.drop, other.cost.mean_ms, other.cost.size_bytes), ours, strict=True))
            and (other.drop, other.cost.mean_ms, other.cost.size_bytes) != ours
            for other in pairs
        )
        if not beaten:
            kept.append(pair)
    return kept
