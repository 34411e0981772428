"""One model on one split: accuracy with its interval, calibration error, recall of each class.

A recommender is also asked how it orders rows: AUC with a bootstrap interval and NDCG@10 by user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.data import Split
from toolkit.errors import DataError, InputError
from toolkit.judge.ranking import compare_auc, ndcg
from toolkit.judge.reliability import ReliabilityBin, reliability
from toolkit.judge.statistics import Estimate, calibration_error, wilson_interval
from toolkit.predictor import Predictor
from toolkit.spec import Array, Spec, softmax

USER = "user"


@dataclass(frozen=True)
class ClassRecall:
    """How many rows of one class there are, and how many the model got right."""

    label: str
    rows: int
    right: int

    @property
    def recall(self) -> float | None:
        """Share right; None where the split has no row of this class."""
        return self.right / self.rows if self.rows else None


@dataclass(frozen=True)
class Assessment:
    """What one model did on one split; shares from 0 to 1. AUC and NDCG@10 for recommenders only."""

    split: str
    rows: int
    accuracy: Estimate
    calibration_error: float
    classes: tuple[ClassRecall, ...]
    auc: Estimate | None = None
    ndcg_at_10: float | None = None
    reliability: tuple[ReliabilityBin, ...] = ()

    def values(self) -> dict[str, Any]:
        """Plain JSON values, without the name of the split."""
        value: dict[str, Any] = {
            "rows": self.rows,
            "accuracy": self.accuracy.to_json(),
            "expected_calibration_error": self.calibration_error,
            "classes": [{"label": c.label, "rows": c.rows, "recall": c.recall} for c in self.classes],
            "reliability": [found.to_json() for found in self.reliability],
        }
        if self.auc is not None:
            value |= {"auc": self.auc.to_json(), "ndcg_at_10": self.ndcg_at_10}
        return value

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: `split`, and the values under the split's name."""
        return {"split": self.split, self.split: self.values()}


def assess(predictor: Predictor, split: Split, *, split_name: str = "test") -> Assessment:
    """Answer every row of `split` and count; raises `DataError` for an empty split."""
    logits = predictor.logits(split.examples) / predictor.temperature
    users = users_of(split) if predictor.spec.task == "recommend" else None
    return assess_logits(logits, split.labels, spec=predictor.spec, split_name=split_name, users=users)


def assess_logits(
    logits: Array, labels: Array, *, spec: Spec, split_name: str = "test", users: Array | None = None
) -> Assessment:
    """`assess` for logits already at hand: float (rows, classes), after the temperature; labels int (rows,)."""
    check_rows(logits, labels, spec)
    auc = None
    if spec.task == "recommend":
        scores = positive_scores(logits, spec)
        auc = compare_auc(scores, scores, labels == 1, users=users).reference
    return count_answers(logits, labels, spec=spec, split_name=split_name, auc=auc, users=users)


def count_answers(
    logits: Array, labels: Array, *, spec: Spec, split_name: str, auc: Estimate | None, users: Array | None
) -> Assessment:
    """The assessment of checked logits, with an AUC computed elsewhere (paired, where there are two models)."""
    probabilities = softmax(logits)
    right = probabilities.argmax(axis=1) == labels
    rows = np.bincount(labels, minlength=len(spec.labels)).tolist()
    hits = np.bincount(labels[right], minlength=len(spec.labels)).tolist()
    return Assessment(
        split=split_name,
        rows=len(labels),
        accuracy=wilson_interval(int(right.sum()), len(labels)),
        calibration_error=calibration_error(probabilities, labels),
        classes=tuple(ClassRecall(*cells) for cells in zip(spec.labels, rows, hits, strict=True)),
        auc=auc,
        ndcg_at_10=None if auc is None or users is None else ndcg(positive_scores(logits, spec), labels, users),
        reliability=reliability(probabilities, labels),
    )


def check_rows(logits: Array, labels: Array, spec: Spec) -> None:
    """Raise `DataError` for no rows or labels out of range, `InputError` for logits of another shape."""
    if not len(labels):
        raise DataError("there are no rows to judge by; choose a split that has some")
    if logits.shape != (len(labels), len(spec.labels)):
        raise InputError(f"logits have shape {logits.shape}; expected {(len(labels), len(spec.labels))}")
    if labels.min() < 0 or labels.max() >= len(spec.labels):
        raise DataError(f"labels run from {labels.min()} to {labels.max()}; this model has 0 to {len(spec.labels) - 1}")


def positive_scores(logits: Array, spec: Spec) -> Array:
    """What a recommender orders by: the log-odds of its second label; `InputError` unless it has two."""
    if len(spec.labels) != 2:
        raise InputError(f"a recommender is judged by two labels, the second one wanted; this has {len(spec.labels)}")
    scores: Array = logits[:, 1].astype(np.float64) - logits[:, 0]
    return scores


def users_of(split: Split) -> Array | None:
    """Who each row belongs to: the slice or field called `user`; None where rows have no user."""
    if USER in split.slices:
        return split.slices[USER]
    examples: Sequence[Any] = split.examples
    for name in (USER, "user_id"):
        if all(isinstance(example, dict) and name in example for example in examples):
            return np.asarray([str(example[name]) for example in examples])
    return None
