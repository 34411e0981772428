"""The threshold of a cascade: counted against every threshold there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.compress.thresholds import choose_share, choose_threshold, route
from toolkit.errors import DataError, GateError, InputError, RecipeError
from toolkit.routing import Router, margins
from toolkit.spec import Array, softmax

LABELS = np.asarray([0, 1, 0, 1, 0, 1])
# surest first; the small model is wrong on the last two, the large one on the first
SMALL = np.asarray([[9.0, 0.0], [0.0, 7.0], [5.0, 0.0], [0.0, 3.0], [0.0, 1.0], [0.5, 0.0]], dtype=np.float32)
LARGE = np.asarray([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [0.0, 9.0]], dtype=np.float32)


def accuracy(logits: Array, labels: Array = LABELS) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def test_as_few_rows_as_keep_the_budget_are_deferred() -> None:
    router = choose_threshold(SMALL, LARGE, LABELS, reference_accuracy=accuracy(LARGE), max_drop=0.0)
    assert (router.share, router.accuracy, router.within_budget) == (1 / 6, 5 / 6, True)
    assert accuracy(route(SMALL, LARGE, router)) == router.accuracy
    better = choose_threshold(SMALL, LARGE, LABELS, reference_accuracy=1.0, max_drop=0.0)
    assert (better.share, better.accuracy) == (2 / 6, 1.0)


def test_a_small_model_that_is_good_enough_defers_nothing() -> None:
    router = choose_threshold(SMALL, LARGE, LABELS, reference_accuracy=4 / 6, max_drop=0.0)
    assert (router.threshold, router.share) == (0.0, 0.0)
    assert np.array_equal(route(SMALL, LARGE, router), SMALL)


def test_a_budget_that_nothing_keeps_gives_the_best_and_says_so() -> None:
    wrong = 1 - LARGE
    router = choose_threshold(wrong, wrong, LABELS, reference_accuracy=1.0, max_drop=0.1)
    assert not router.within_budget
    assert router.share == 0.0, "no row is worth deferring to a model that answers the same"


def test_a_share_is_kept_as_nearly_as_rows_allow() -> None:
    for share, expected in ((0.0, 0), (0.2, 1), (0.5, 3), (1.0, 6)):
        router = choose_share(SMALL, LARGE, LABELS, share=share)
        assert router.share * 6 == pytest.approx(expected)
        assert len(router.unsure(softmax(SMALL))) == expected


def test_routing_copies() -> None:
    before = SMALL.copy()
    routed = route(SMALL, LARGE, Router(0.6, 0.3, 1.0))
    assert np.array_equal(SMALL, before)
    assert np.array_equal(routed, np.concatenate([SMALL[:4], LARGE[4:]]))


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 25),
    drop=st.sampled_from([0.0, 0.05, 0.2]),
    scale=st.sampled_from([0.0, 1.0, 60.0]),
)
@settings(max_examples=150, deadline=None)
def test_no_threshold_does_better(seed: int, rows: int, drop: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    # whole numbers make equal margins, a scale of 60 makes probabilities of exactly 1
    small = (random.integers(-2, 3, (rows, 3)) * scale).astype(np.float32)
    large = random.normal(size=(rows, 3)).astype(np.float32)
    labels = random.integers(0, 3, rows)
    reference = accuracy(large, labels)
    router = choose_threshold(small, large, labels, reference_accuracy=reference, max_drop=drop)
    margin = margins(softmax(small))
    found = margin < router.threshold
    assert found.mean() == router.share
    assert accuracy(route(small, large, router), labels) == pytest.approx(router.accuracy)
    assert router.within_budget, "deferring all keeps any budget"
    for threshold in (0.0, *np.nextafter(margin, 2.0).tolist()):
        other = margin < threshold
        answers = np.where(other[:, None], large, small)
        if accuracy(answers, labels) >= reference - drop - 1e-9:
            assert other.mean() >= router.share


def test_bad_values_are_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"max_drop is -0\.1; allowed: 0 to 1"):
        choose_threshold(SMALL, LARGE, LABELS, reference_accuracy=1.0, max_drop=-0.1)
    with pytest.raises(RecipeError, match="share is nan; allowed: 0 to 1"):
        choose_share(SMALL, LARGE, LABELS, share=float("nan"))
    with pytest.raises(DataError, match="no rows to choose a threshold on"):
        choose_share(SMALL[:0], LARGE[:0], LABELS[:0], share=0.5)
    with pytest.raises(InputError, match=r"large model's logits have shape \(5, 2\) for 6 rows"):
        choose_share(SMALL, LARGE[1:], LABELS, share=0.5)
    broken = LARGE.copy()
    broken[2] = np.nan
    with pytest.raises(GateError, match="large model answers 1 of 6 rows with NaN"):
        choose_share(SMALL, broken, LABELS, share=0.5)
