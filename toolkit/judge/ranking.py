"""How well scores order rows: AUC with a paired bootstrap, NDCG@10 for each user, rank overlap.

A recommender is asked for an order, not for a label: accuracy at one threshold says little about it.
Ties count half in AUC and are broken by position in NDCG, as a stable sort in production would.

Limits: the bootstrap resamples rows, so it treats ratings of one user as independent and is somewhat
narrow where few users rate much; two models with equal scores get an interval of no width.
Sources: Mann & Whitney 1947; Efron & Tibshirani 1993, chapter 13; Järvelin & Kekäläinen 2002 (NDCG).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.errors import DataError
from toolkit.judge.statistics import LEVEL, Estimate
from toolkit.spec import Array

REPLICATES = 1000
_CELLS = 4_000_000  # replicates x rows held at once: 32 MB in each array


def auc(scores: Array, positive: Array) -> float:
    """Share of (positive, negative) pairs that the scores put in order, a tie counting half.

    `scores` float (rows,), `positive` bool (rows,). Raises `DataError` when one of the two is missing.
    """
    positives, negatives = _both_kinds(positive)
    _, group = np.unique(scores, return_inverse=True)
    counts = np.bincount(group)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]  # mean rank within a tie, from 1
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@dataclass(frozen=True)
class AucPair:
    """AUC of both models on the same rows, and the difference candidate - reference."""

    reference: Estimate
    candidate: Estimate
    difference: Estimate


def compare_auc(
    reference: Array, candidate: Array, positive: Array, *, seed: int = 0, replicates: int = REPLICATES
) -> AucPair:
    """Both AUC and their difference with percentile intervals of a stratified, paired bootstrap.

    Each replicate draws as many positives and negatives as there are, the same rows for both models.
    """
    columns = [_ordered(scores, positive) for scores in (reference, candidate)]
    found = np.empty((replicates, 2))
    rng = np.random.default_rng(seed)
    positives, negatives = _both_kinds(positive)
    step = max(1, _CELLS // len(positive))
    for start in range(0, replicates, step):
        count = min(step, replicates - start)
        drawn = [_draw(rng, count, size) for size in (positives, negatives)]
        for column, (groups_positive, groups_negative, groups) in enumerate(columns):
            above = _sum_groups(drawn[0], groups_positive, groups)
            below = _sum_groups(drawn[1], groups_negative, groups)
            ordered = np.cumsum(below, axis=1) - below / 2
            found[start : start + count, column] = (above * ordered).sum(axis=1) / (positives * negatives)
    values = auc(reference, positive), auc(candidate, positive)
    return AucPair(
        _percentiles(values[0], found[:, 0]),
        _percentiles(values[1], found[:, 1]),
        _percentiles(values[1] - values[0], found[:, 1] - found[:, 0]),
    )


def ndcg(scores: Array, relevance: Array, users: Array, *, k: int = 10) -> float | None:
    """Mean NDCG@k over the users who have something relevant and something not; None when nobody has.

    All three are (rows,); relevance is a gain >= 0. A user whose rows are all alike cannot be ordered
    wrongly and would only flatter the mean.
    """
    discounts = 1 / np.log2(np.arange(k) + 2)
    values = []
    for rows in _rows_of_each(users):
        gain = relevance[rows].astype(np.float64)
        if gain.min() == gain.max():
            continue
        shown = gain[np.argsort(-scores[rows], kind="stable")][:k]
        best = np.sort(gain)[::-1][:k]
        values.append((shown * discounts[: len(shown)]).sum() / (best * discounts[: len(best)]).sum())
    return float(np.mean(values)) if values else None


def rank_overlap(reference: Array, candidate: Array, users: Array, *, k: int = 10) -> float | None:
    """Mean share of a user's top k that both models show, over users with more than k rows; None without one."""
    shares = []
    for rows in _rows_of_each(users):
        if len(rows) <= k:  # both models show all there is
            continue
        before, after = (np.argsort(-scores[rows], kind="stable")[:k] for scores in (reference, candidate))
        shares.append(len(np.intersect1d(before, after)) / k)
    return float(np.mean(shares)) if shares else None


def _both_kinds(positive: Array) -> tuple[int, int]:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        raise DataError(f"AUC needs rows of both kinds; got {positives} positive and {negatives} negative rows")
    return positives, negatives


def _ordered(scores: Array, positive: Array) -> tuple[Array, Array, int]:
    """The tie group (0 for the lowest score) of each positive and of each negative row, and how many groups."""
    values, group = np.unique(scores, return_inverse=True)
    return group[positive], group[~positive], len(values)


def _draw(rng: np.random.Generator, replicates: int, size: int) -> Array:
    """How often each of `size` rows was drawn, float64 (replicates, size)."""
    rows = rng.integers(0, size, (replicates, size)) + np.arange(replicates)[:, None] * size
    return np.bincount(rows.ravel(), minlength=replicates * size).reshape(replicates, size).astype(np.float64)


def _sum_groups(drawn: Array, groups: Array, count: int) -> Array:
    """Draws added up by tie group, float64 (replicates, count)."""
    replicates = len(drawn)
    cells = groups[None, :] + np.arange(replicates)[:, None] * count
    return np.bincount(cells.ravel(), weights=drawn.ravel(), minlength=replicates * count).reshape(replicates, count)


def _percentiles(value: float, replicates: Array) -> Estimate:
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # percentiles of a skewed bootstrap may miss the estimate; an interval that excludes its value misleads
    return Estimate(value, min(float(low), value), max(float(high), value))


def _rows_of_each(users: Array) -> list[Array]:
    _, index = np.unique(users, return_inverse=True)
    order = np.argsort(index, kind="stable")
    return np.split(order, np.cumsum(np.bincount(index))[:-1])
