"""AUC, its bootstrap, NDCG and overlap, against brute force and scikit-learn."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import DataError
from toolkit.judge.ranking import auc, compare_auc, compare_auc_at, ndcg, rank_overlap
from toolkit.spec import Array

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40)


def two_models(rows: int = 600, seed: int = 0) -> tuple[Array, Array, Array]:
    """Labels and the scores of a good and a noisier model."""
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < 0.4
    good = positive + rng.normal(0, 1, rows)
    return good, good + rng.normal(0, 1, rows), positive


@given(ROWS)
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([s for s, _ in rows], dtype=float), np.array([p for _, p in rows])
    if positive.all() or not positive.any():
        with pytest.raises(DataError, match="rows of both kinds"):
            auc(scores, positive)
        return
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auc(-scores, positive) == pytest.approx(1 - auc(scores, positive), abs=1e-12)


def test_auc_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    good, noisy, positive = two_models()
    assert auc(good, positive) == pytest.approx(roc_auc_score(positive, good), abs=1e-12)
    assert auc(np.round(noisy), positive) == pytest.approx(roc_auc_score(positive, np.round(noisy)), abs=1e-12)


def test_the_bootstrap_agrees_with_one_that_loops() -> None:
    good, noisy, positive = two_models(200)
    good = np.round(good, 1)  # ties
    pair = compare_auc(good, noisy, positive, replicates=2000)
    rng = np.random.default_rng(5)
    kinds = np.flatnonzero(positive), np.flatnonzero(~positive)
    looped = []
    for _ in range(2000):
        rows = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds])
        looped.append(auc(noisy[rows], positive[rows]) - auc(good[rows], positive[rows]))
    low, high = np.quantile(looped, [0.025, 0.975])
    assert pair.difference.value == pytest.approx(auc(noisy, positive) - auc(good, positive))
    assert pair.difference.low == pytest.approx(low, abs=0.008)
    assert pair.difference.high == pytest.approx(high, abs=0.008)
    assert pair.reference.low < pair.reference.value < pair.reference.high


def test_the_bootstrap_is_seeded_and_mirrors() -> None:
    good, noisy, positive = two_models(300)
    once, again, swapped = (compare_auc(*m, positive, seed=1) for m in ((good, noisy), (good, noisy), (noisy, good)))
    assert once == again
    assert once != compare_auc(good, noisy, positive, seed=2)
    assert swapped.difference.low == pytest.approx(-once.difference.high, abs=1e-12)
    assert swapped.reference == once.candidate


def test_pairing_makes_the_difference_narrower_than_the_parts() -> None:
    good, _, positive = two_models(500)
    nearly = good + np.random.default_rng(1).normal(0, 0.05, 500)
    pair = compare_auc(good, nearly, positive)
    width = pair.difference.high - pair.difference.low
    assert 0 < width < (pair.reference.high - pair.reference.low) / 4


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    from math import sqrt
    from statistics import NormalDist

    truth = NormalDist().cdf(1 / sqrt(2))  # two normals one deviation apart
    covered = 0
    for seed in range(200):
        good, _, positive = two_models(250, seed)
        estimate = compare_auc(good, good, positive, replicates=300).reference
        covered += estimate.low <= truth <= estimate.high
    assert 0.90 <= covered / 200 <= 0.99


def test_chunks_of_the_bootstrap_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    good, noisy, positive = two_models(300)
    whole = compare_auc(good, noisy, positive, replicates=400)
    monkeypatch.setattr("toolkit.judge.ranking._CELLS", 300 * 7)
    chunked = compare_auc(good, noisy, positive, replicates=400)
    assert chunked.difference.low == pytest.approx(whole.difference.low, abs=0.01)


def test_ndcg_is_scikit_learns_user_by_user() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(2)
    users = rng.integers(0, 20, 500)
    gains, scores = rng.integers(0, 3, 500), rng.normal(size=500)
    expected = [ndcg_score([gains[users == u]], [scores[users == u]], k=10) for u in range(20)]
    assert ndcg(scores, gains, users) == pytest.approx(np.mean(expected), abs=1e-12)


def test_ndcg_of_a_perfect_order_is_one_and_users_without_a_choice_do_not_count() -> None:
    users = np.array(["a", "a", "b", "b", "c"])
    gains = np.array([1, 0, 1, 1, 0])
    assert ndcg(np.array([2.0, 1, 0, 5, 3]), gains, users) == 1.0
    assert ndcg(np.array([1.0, 2, 0, 5, 3]), gains, users) == pytest.approx(1 / np.log2(3))
    assert ndcg(np.zeros(2), np.array([1, 1]), np.array([0, 0])) is None


def test_rank_overlap_counts_what_both_would_show() -> None:
    users = np.repeat([0, 1], [20, 5])
    before = np.concatenate([np.arange(20.0), np.arange(5.0)])
    assert rank_overlap(before, before * 2, users) == 1.0
    assert rank_overlap(before, -before, users) == 0.0
    moved = before.copy()
    moved[0] = 100  # one newcomer in the ten
    assert rank_overlap(before, moved, users) == pytest.approx(0.9)
    assert rank_overlap(before[:5], before[:5], users[:5]) is None


def test_users_are_drawn_with_all_their_rows() -> None:
    """Against a loop that draws users; and wider than rows where a user's ratings go together."""
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(40), 15)
    positive = rng.random(600) < 0.5
    taste = np.repeat(rng.normal(0, 1, 40), 15)
    good = positive + rng.normal(0, 0.5, 600)
    off = good + taste * np.where(positive, 1, -1)  # for some users helped, for others spoilt as a whole
    pair = compare_auc(good, off, positive, users=users, replicates=300)
    assert pair.resampled == "users"
    looped = []
    for drawn in np.random.default_rng(0).integers(0, 40, (300, 40)):  # the very draws of seed 0
        rows = np.concatenate([np.flatnonzero(users == user) for user in drawn])
        looped.append(auc(off[rows], positive[rows]) - auc(good[rows], positive[rows]))
    low, high = np.quantile(looped, [0.025, 0.975])
    assert (pair.difference.low, pair.difference.high) == pytest.approx((low, high), abs=1e-12)
    rows_only = compare_auc(good, off, positive)
    assert rows_only.resampled == "rows"
    assert rows_only.difference.value == pair.difference.value
    width = pair.difference.high - pair.difference.low
    assert width > 1.5 * (rows_only.difference.high - rows_only.difference.low)
    assert compare_auc(good, off, positive, users=users, replicates=300) == pair


def test_few_users_are_not_drawn() -> None:
    good, noisy, positive = two_models(300)
    pair = compare_auc(good, noisy, positive, users=np.arange(300) % 9)
    assert pair == compare_auc(good, noisy, positive)
    assert pair.resampled == "rows"


def test_draws_that_have_one_kind_only_are_left_out() -> None:
    users = np.arange(12)
    positive = users < 1  # one of twelve users is all the positives: a third of the draws miss them
    pair = compare_auc(np.arange(12.0), -np.arange(12.0), positive, users=users, replicates=200)
    assert (pair.reference.value, pair.candidate.value) == (0.0, 1.0)
    assert (pair.difference.low, pair.difference.high) == (1.0, 1.0)


def test_levels_nest_in_one_bootstrap() -> None:
    good, noisy, positive = two_models(300)
    plain, wide = compare_auc_at(good, noisy, positive, levels=(0.95, 0.99))
    assert plain == compare_auc(good, noisy, positive).difference
    assert wide.low < plain.low < plain.high < wide.high
    assert wide.value == plain.value


def test_ten_thousand_rows_take_less_than_three_seconds() -> None:
    good, noisy, positive = two_models(10_000)
    start = time.process_time()
    compare_auc(good, noisy, positive, users=np.arange(10_000) % 500)
    assert time.process_time() - start < 3
