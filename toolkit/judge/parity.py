"""Did the door change the answers? The same arrays through two runners, compared number by number.

Same weights in PyTorch and ONNX Runtime differ by about 1e-6 of a logit; a wrong export (a batch of 1 baked
in, padding seen by a recurrent net) by a hundredth or more. So parity is a tight yes or no at 1e-4, and what
compression costs is not its business: that is `quality`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from toolkit.errors import InputError
from toolkit.predictor import FLOAT_TOLERANCE, relative_difference
from toolkit.spec import Array, Arrays


class Runs(Protocol):
    """What parity needs of a runner."""

    def run(self, arrays: Arrays) -> Array: ...


@dataclass(frozen=True)
class Parity:
    """The largest difference of a logit, over the largest logit of its row (at least 1), on `rows` rows.

    `shapes` has the shape of each batch's first array, in the order they ran, and `worst` the one with the
    largest difference. A difference is NaN when any logit is no finite number.
    """

    max_relative_difference: float
    rows: int
    shapes: tuple[tuple[int, ...], ...]
    worst: tuple[int, ...]

    def passed(self, tolerance: float = FLOAT_TOLERANCE) -> bool:
        """True when the difference is at most `tolerance`; never for NaN."""
        return bool(self.max_relative_difference <= tolerance)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a difference that is no number is null, and has not passed."""
        finite = bool(np.isfinite(self.max_relative_difference))
        return {
            "max_relative_difference": self.max_relative_difference if finite else None,
            "tolerance": FLOAT_TOLERANCE,
            "passed": self.passed(),
            "rows": self.rows,
            "shapes": [list(shape) for shape in self.shapes],
            "worst": list(self.worst),
        }


def parity(reference: Runs, candidate: Runs, batches: Iterable[Arrays]) -> Parity:
    """Run every batch through both; raises `InputError` when there is none: nothing compared is no parity."""
    largest, rows = -1.0, 0
    shapes: list[tuple[int, ...]] = []
    worst: tuple[int, ...] = ()
    for arrays in batches:
        shape = tuple(next(iter(arrays.values())).shape)
        difference = _difference(reference.run(arrays), candidate.run(arrays))
        shapes.append(shape)
        rows += shape[0]
        if np.isnan(difference) or difference > largest:  # a NaN stays: nothing is larger than it
            largest, worst = difference, shape
    if not rows:
        raise InputError("parity was asked over no rows; give a batch or more of encoded examples")
    return Parity(largest, rows, tuple(shapes), worst)


def _difference(expected: Array, found: Array) -> float:
    """Relative difference of two answers; NaN when a logit of either is no number, infinite for other shapes."""
    if expected.shape != found.shape:
        return float("inf")
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return float("nan")
    return relative_difference(expected, found)
