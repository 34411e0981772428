"""What its batches do to a model whose INT8 scales come from the rows that run together.

Such a model is judged and timed one row at a time, where its answer is its own. Served in batches its neighbours
move it; this says by how much, in the batches that serving would make: rows of like size together, as `Predictor`
does. It costs one more pass over the rows. Limit: other neighbours move other answers; this is one grouping of many.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.predictor import Predictor
from toolkit.spec import Array

BATCH_SIZE = 32


@dataclass(frozen=True)
class InBatches:
    """Answers in batches of `batch_size`: share right, and how many of the `rows` got another label than alone."""

    rows: int
    batch_size: int
    accuracy: float
    labels_moved: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


def judge_in_batches(
    predictor: Predictor, examples: Sequence[Any], *, alone: Array, labels: Array, columns: Sequence[int]
) -> InBatches | None:
    """Compare with the logits `alone`, float (rows, classes); None for a model that its batches do not move.

    `columns` are the predictor's classes in the order of `alone`; `labels`, int (rows,), count in that order.
    """
    if predictor.artifact is None or not predictor.artifact.depends_on_batch:
        return None
    answers = in_batches(predictor, BATCH_SIZE).logits(examples)[:, list(columns)].argmax(axis=1)
    return InBatches(
        rows=len(labels),
        batch_size=BATCH_SIZE,
        accuracy=float((answers == labels).mean()),
        labels_moved=int((answers != alone.argmax(axis=1)).sum()),
    )


def in_batches(predictor: Predictor, batch_size: int) -> Predictor:
    """The same open model, `batch_size` rows a run; of a cascade both members. Close the one it came from."""
    wide = copy.copy(predictor)
    wide.batch_size = batch_size
    for name, part in vars(predictor).items():
        if isinstance(part, Predictor):
            setattr(wide, name, in_batches(part, batch_size))
    return wide
