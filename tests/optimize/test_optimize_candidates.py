"""Cascades are counted, not guessed; the answer holds the budget or misses it least; the Pareto set is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_samples import candidate, cost

from toolkit.compress.thresholds import route
from toolkit.optimize.budget import Budget
from toolkit.optimize.candidates import SHARES, choose, dominator, expect_cost, find_pareto, pair_up
from toolkit.routing import margins
from toolkit.spec import softmax

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 400)


def logits_right(share: float, seed: int) -> np.ndarray:
    """Logits that are right on about `share` of the rows, and less sure where they are wrong."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(LABELS)) < share
    answers = np.where(right, LABELS, (LABELS + 1) % 3)
    logits = rng.normal(0, 0.1, (len(LABELS), 3))
    logits[np.arange(len(LABELS)), answers] += np.where(right, 4.0, 1.0)
    return logits.astype(np.float32)


ANSWERS = {"small": logits_right(0.85, 1), "large": logits_right(0.96, 2)}
SINGLES = [
    candidate(name, float((found.argmax(1) == LABELS).mean()), mean)
    for (name, found), mean in zip(ANSWERS.items(), (0.2, 2.0), strict=True)
]
PLAIN = Budget(max_drop=0.01, caution=0.0)


def test_a_cascade_has_the_accuracy_that_routing_its_members_gives() -> None:
    (pair,) = pair_up(SINGLES, ANSWERS, LABELS, ANSWERS["large"], PLAIN)
    assert pair.members == ("small", "large")
    assert pair.router is not None
    answered = route(ANSWERS["small"], ANSWERS["large"], pair.router)
    assert pair.score == pytest.approx(float((answered.argmax(1) == LABELS).mean()))
    assert pair.drop <= 0.01 + 1e-9
    assert 0 < pair.router.share < 0.5


def test_a_lucky_share_is_not_believed() -> None:
    """Where two right answers more hold the budget at one share, and not at the next, the share is a larger one."""
    small, large = ANSWERS["small"], ANSWERS["large"]
    (pair,) = pair_up(SINGLES, ANSWERS, LABELS, large, PLAIN)
    assert pair.router is not None
    order = np.argsort(margins(softmax(small)), kind="stable")
    right = large.argmax(1) == LABELS
    for share in (share for share in SHARES if share >= pair.router.share - 1e-9):
        together = (small.argmax(1) == LABELS).copy()
        together[order[: round(share * len(order))]] = right[order[: round(share * len(order))]]
        assert right.mean() - together.mean() <= 0.01 + 1e-9, f"{share} does not hold"


def test_a_cascade_counts_as_no_better_than_its_large_member() -> None:
    """The small one is right where the large one errs, on rows that it is sure of: luck, until test rows say so."""
    small, large = logits_right(0.85, 1), logits_right(0.96, 2)
    small[large.argmax(1) != LABELS] = 9.0 * np.eye(small.shape[1])[LABELS[large.argmax(1) != LABELS]]
    answers = {"small": small, "large": large}
    singles = [replace(single, score=float((answers[single.name].argmax(1) == LABELS).mean())) for single in SINGLES]
    (pair,) = pair_up(singles, answers, LABELS, large, PLAIN)
    assert pair.router is not None
    assert pair.router.accuracy > singles[1].score
    assert (pair.score, pair.drop) == (singles[1].score, 0.0)


def test_caution_defers_more_rows() -> None:
    (plain,) = pair_up(SINGLES, ANSWERS, LABELS, ANSWERS["large"], PLAIN)
    (careful,) = pair_up(SINGLES, ANSWERS, LABELS, ANSWERS["large"], replace(PLAIN, caution=1.0))
    assert plain.router is not None
    assert careful.router is not None
    assert careful.router.share > plain.router.share
    assert careful.drop + careful.error <= 0.01 + 1e-9 < plain.drop + plain.error


def test_a_doubtful_winner_gives_way_to_a_sure_one() -> None:
    lucky = replace(candidate("lucky", 0.946, 0.5), error=0.009)
    sure = replace(candidate("sure", 0.946, 0.9), error=0.002)
    assert choose([lucky, sure], Budget(max_drop=0.01)).name == "sure"
    assert choose([lucky, sure], PLAIN).name == "lucky"


def test_a_cascade_costs_the_small_one_always_and_the_large_one_sometimes() -> None:
    found = expect_cost(cost(0.2, 1_000_000), cost(2.0, 20_000_000), 0.25)
    assert found.mean_ms == pytest.approx(0.7)
    assert found.p50_ms == pytest.approx(0.2)
    assert found.p99_ms == pytest.approx(4.2)
    assert found.size_bytes == 21_000_000


def test_two_models_of_like_cost_make_no_cascade() -> None:
    singles = [candidate("small", SINGLES[0].score, 1.9), SINGLES[1]]
    assert pair_up(singles, ANSWERS, LABELS, ANSWERS["large"], PLAIN) == []


def test_the_fastest_that_holds_the_budget_is_chosen_and_the_smallest_when_size_is_asked() -> None:
    found = [
        candidate("fast", 0.945, 0.5, size=9_000_000), candidate("tiny", 0.944, 0.9, size=2_000_000),
        candidate("poor", 0.90, 0.1, size=1_000_000),
    ]  # fmt: skip
    assert choose(found, Budget(max_drop=0.01)).name == "fast"
    assert choose(found, Budget(max_drop=0.01, objective="size")).name == "tiny"
    assert choose(found, Budget(max_drop=0.10)).name == "poor"


def test_the_best_attempt_is_returned_when_nothing_holds_the_budget() -> None:
    found = [candidate("a", 0.80, 0.1), candidate("b", 0.93, 0.9), candidate("c", 0.92, 0.2)]
    assert choose(found, Budget(max_drop=0.01)).name == "b"


quantities = st.tuples(st.integers(80, 95), st.integers(1, 9), st.integers(1, 9))


@given(st.lists(quantities, min_size=1, max_size=12))
def test_the_pareto_set_is_what_nothing_dominates(rows: list[tuple[int, int, int]]) -> None:
    found = [candidate(str(i), a / 100, float(b), size=c * 1000) for i, (a, b, c) in enumerate(rows)]
    pareto = find_pareto(found)
    assert pareto
    for one in found:
        better = dominator(one, found)
        assert (better is None) == (one in pareto)
        if better is not None:
            assert better.drop <= one.drop
            assert better.cost.mean_ms <= one.cost.mean_ms
