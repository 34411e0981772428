"""How well scores order rows: AUC with a paired bootstrap, NDCG@10 for each user, rank overlap.

A recommender is asked for an order, not for a label: accuracy at one threshold says little about it.
Ties count half in AUC and are broken by position in NDCG, as a stable sort in production would.

Where it is known who each row belongs to, the bootstrap draws users with all their rows: ratings of
one person are not independent, and drawing rows would make the interval too narrow. Below ten users
that says little, so rows are drawn, and the result says which it was.

Limits: two models with equal scores get an interval of no width; percentiles over few users are
somewhat narrow.
Sources: Mann & Whitney 1947; Efron & Tibshirani 1993, chapter 13; Davison & Hinkley 1997, section 3.8
(drawing clusters); Järvelin & Kekäläinen 2002 (NDCG).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import DataError
from toolkit.judge.statistics import LEVEL, Estimate
from toolkit.spec import Array

REPLICATES = 1000
MIN_USERS = 10
USERS, ROWS = "users", "rows"
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
    """AUC of both models on the same rows, the difference candidate - reference, and what the bootstrap drew."""

    reference: Estimate
    candidate: Estimate
    difference: Estimate
    resampled: str = ROWS


def compare_auc(
    reference: Array,
    candidate: Array,
    positive: Array,
    *,
    users: Array | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> AucPair:
    """Both AUC and their difference with percentile intervals of a paired bootstrap; all arrays are (rows,).

    Each replicate draws as many users as there are, with all their rows; without `users`, or with fewer
    than ten, as many positives and negatives as there are. The same rows for both models. Raises
    `DataError` when one of the two kinds is missing.
    """
    found, resampled = _bootstrap(reference, candidate, positive, users, seed=seed, replicates=replicates)
    values = auc(reference, positive), auc(candidate, positive)
    return AucPair(
        _percentiles(values[0], found[:, 0], LEVEL),
        _percentiles(values[1], found[:, 1], LEVEL),
        _percentiles(values[1] - values[0], found[:, 1] - found[:, 0], LEVEL),
        resampled,
    )


def compare_auc_at(
    reference: Array,
    candidate: Array,
    positive: Array,
    *,
    levels: Sequence[float],
    users: Array | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> tuple[Estimate, ...]:
    """The difference of AUC with its interval at each of `levels`, all from the bootstrap of `compare_auc`."""
    found, _ = _bootstrap(reference, candidate, positive, users, seed=seed, replicates=replicates)
    difference = auc(candidate, positive) - auc(reference, positive)
    return tuple(_percentiles(difference, found[:, 1] - found[:, 0], level) for level in levels)


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


def _bootstrap(
    reference: Array, candidate: Array, positive: Array, users: Array | None, *, seed: int, replicates: int
) -> tuple[Array, str]:
    """AUC of both models in each replicate, float64 (replicates, 2), and what was drawn."""
    _both_kinds(positive)
    member = None if users is None else np.unique(users, return_inverse=True)[1]
    if member is not None and member.max() + 1 < MIN_USERS:
        member = None
    found = _replicate((reference, candidate), positive, member, seed=seed, replicates=replicates)
    return found, ROWS if member is None else USERS


def _replicate(
    models: tuple[Array, Array], positive: Array, member: Array | None, *, seed: int, replicates: int
) -> Array:
    """AUC of each model in each replicate, float64 (replicates, 2); replicates that drew one kind only are left out.

    `member` numbers the user of each row; None draws rows, each kind by itself.
    """
    rng = np.random.default_rng(seed)
    orders = [_order(scores, positive) for scores in models]
    kinds = np.flatnonzero(positive), np.flatnonzero(~positive)
    found = np.empty((replicates, len(models)))
    step = max(1, _CELLS // len(positive))
    for start in range(0, replicates, step):
        count = min(step, replicates - start)
        if member is None:
            above, below = (_draw(rng, count, len(kind)) for kind in kinds)
        else:
            drawn = _draw(rng, count, int(member.max()) + 1)
            above, below = (drawn[:, member[kind]] for kind in kinds)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        for column, order in enumerate(orders):
            lower = np.zeros((count, below.shape[1] + 1))
            np.cumsum(below[:, order.negatives], axis=1, out=lower[:, 1:])
            # a positive is above the negatives that are strictly lower, and half above those of its own score
            ordered = (above * (lower[:, order.strictly] + lower[:, order.tied])).sum(axis=1) / 2
            found[start : start + count, column] = np.divide(
                ordered, pairs, out=np.full(count, np.nan), where=pairs > 0
            )
    return found[np.isfinite(found).all(axis=1)]


@dataclass(frozen=True)
class _Order:
    """Negatives from the lowest score up; for each positive how many are strictly lower, and not higher."""

    negatives: Array
    strictly: Array
    tied: Array


def _order(scores: Array, positive: Array) -> _Order:
    below = scores[~positive]
    negatives = np.argsort(below, kind="stable")
    ranked = below[negatives]
    ends = [np.searchsorted(ranked, scores[positive], side=side) for side in ("left", "right")]
    return _Order(negatives, *ends)


def _draw(rng: np.random.Generator, replicates: int, size: int) -> Array:
    """How often each of `size` members was drawn, float64 (replicates, size)."""
    rows = rng.integers(0, size, (replicates, size)) + np.arange(replicates)[:, None] * size
    return np.bincount(rows.ravel(), minlength=replicates * size).reshape(replicates, size).astype(np.float64)


def _percentiles(value: float, replicates: Array, level: float) -> Estimate:
    if not len(replicates):
        raise DataError("no draw of these users has rows of both kinds; AUC needs more users")
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    # percentiles of a skewed bootstrap may miss the estimate; an interval that excludes its value misleads
    return Estimate(value, min(float(low), value), max(float(high), value))


def _rows_of_each(users: Array) -> list[Array]:
    _, index = np.unique(users, return_inverse=True)
    order = np.argsort(index, kind="stable")
    return np.split(order, np.cumsum(np.bincount(index))[:-1])
