"""Where to put the threshold of a cascade, from the answers of both members to validation rows.

Rows are ordered by how unsure the small member is; deferring the first k of them costs k answers of the large
one and has an accuracy that is counted, not modelled. Pure functions of logits, so that a search can try any pair
of models whose answers it has. Rows of equal margin are never parted: a threshold could not part them.
Limit: a point estimate; on a few hundred rows it is off by a point either way, and `verify` says on test rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolkit.errors import DataError, GateError, InputError, RecipeError
from toolkit.routing import DEFER_ALL, Router, margins
from toolkit.spec import Array, softmax

ROUNDING = 1e-9  # of an accuracy: 0.95 - 0.01 must not be more than 0.94


def choose_threshold(
    small_logits: Array, large_logits: Array, labels: Array, *, reference_accuracy: float, max_drop: float
) -> Router:
    """The router that defers the fewest rows with an accuracy of at least `reference_accuracy` - `max_drop`.

    Logits are float (rows, classes) after the temperature, labels int (rows,). Where no threshold reaches that
    accuracy, the most accurate router, its `within_budget` False. Raises `DataError` without rows, `InputError`
    for arrays of other shapes, `RecipeError` for a drop out of range, `GateError` for logits that are no numbers.
    """
    if not 0.0 <= max_drop <= 1.0:
        raise RecipeError(f"max_drop is {max_drop}; allowed: 0 to 1, where 0.01 is one point")
    curve = _curve(small_logits, large_logits, labels)
    kept = np.flatnonzero(curve.accuracies >= reference_accuracy - max_drop - ROUNDING)
    if len(kept):
        return curve.router(int(kept[0]))
    return replace(curve.router(int(curve.accuracies.argmax())), within_budget=False)


def choose_share(small_logits: Array, large_logits: Array, labels: Array, *, share: float) -> Router:
    """The router that defers nearest to `share` of the rows; arrays and errors as in `choose_threshold`."""
    if not 0.0 <= share <= 1.0:
        raise RecipeError(f"share is {share}; allowed: 0 to 1, the part of the rows that the large model answers")
    curve = _curve(small_logits, large_logits, labels)
    return curve.router(int(np.abs(curve.counts - share * len(labels)).argmin()))


def route(small_logits: Array, large_logits: Array, router: Router) -> Array:
    """What a cascade answers: logits (rows, classes) after the temperature of the member that answers each row."""
    logits = small_logits.copy()
    unsure = router.unsure(softmax(small_logits))
    logits[unsure] = large_logits[unsure]
    return logits


@dataclass(frozen=True)
class _Curve:
    """Every way to part the rows: how many are deferred, below which margin, and how many are then right."""

    counts: Array
    thresholds: Array
    accuracies: Array

    def router(self, place: int) -> Router:
        share = float(self.counts[place]) / int(self.counts[-1])
        return Router(float(self.thresholds[place]), share, float(self.accuracies[place]))


def _curve(small_logits: Array, large_logits: Array, labels: Array) -> _Curve:
    rows = len(labels)
    if not rows:
        raise DataError("there are no rows to choose a threshold on; give validation rows")
    for name, logits in (("small", small_logits), ("large", large_logits)):
        if logits.shape != small_logits.shape or len(logits) != rows:
            raise InputError(f"the {name} model's logits have shape {logits.shape} for {rows} rows; give one a row")
        if broken := int((~np.isfinite(logits)).any(axis=1).sum()):
            raise GateError(f"the {name} model answers {broken} of {rows} rows with NaN or infinity; make it again")
    margin = margins(softmax(small_logits))
    order = np.argsort(margin, kind="stable")
    margin = margin[order]
    small, large = ((logits.argmax(axis=1) == labels)[order] for logits in (small_logits, large_logits))
    counts = np.asarray([0, *(np.flatnonzero(margin[1:] > margin[:-1]) + 1).tolist(), rows])
    gained = np.concatenate([[0], np.cumsum(large.astype(np.int64) - small.astype(np.int64))])
    inside = counts[1:-1]
    middle = (margin[inside - 1] + margin[inside]) / 2
    # between neighbours of floats there is no middle: the upper one still parts them
    middle = np.where(middle > margin[inside - 1], middle, margin[inside])
    return _Curve(
        counts=counts,
        thresholds=np.concatenate([[0.0], middle, [DEFER_ALL]]),
        accuracies=(small.sum() + gained[counts]) / rows,
    )
