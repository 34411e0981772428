"""The rows whose answer changed: how many, which way, how sure the reference was, which rows.

Accuracy can stay while one answer in ten moves: a user sees the moved answers, not the mean. Row
numbers are kept for whoever holds the data; the text of a row is never copied here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.spec import Array

# a confidence belongs to the first band whose upper end is not below it
BANDS = (0.5, 0.7, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Flip:
    """One changed row: its number in the split, three label indices, and both confidences."""

    row: int
    label: int
    reference: int
    candidate: int
    reference_confidence: float
    candidate_confidence: float


@dataclass(frozen=True)
class Band:
    """Rows, and changed rows, where the reference's confidence was above `low` and at most `high`."""

    low: float
    high: float
    rows: int
    flips: int


@dataclass(frozen=True)
class Flips:
    """Changed answers of one split. `rows` are the flips themselves, the reference's surest first."""

    total: int
    right_to_wrong: int
    wrong_to_right: int
    wrong_to_other_wrong: int
    bands: tuple[Band, ...]
    rows: tuple[Flip, ...] = field(repr=False)

    @property
    def count(self) -> int:
        """Number of rows whose answer changed."""
        return len(self.rows)

    @property
    def share(self) -> float:
        """Changed rows among all rows of the split."""
        return self.count / self.total

    def to_json(self, *, rows: bool = False) -> dict[str, Any]:
        """Plain JSON values; `rows` adds row numbers, labels and confidences, never the examples."""
        value: dict[str, Any] = {
            "count": self.count,
            "share": self.share,
            "right_to_wrong": self.right_to_wrong,
            "wrong_to_right": self.wrong_to_right,
            "wrong_to_other_wrong": self.wrong_to_other_wrong,
            "by_reference_confidence": [
                {"above": band.low, "up_to": band.high, "rows": band.rows, "flips": band.flips} for band in self.bands
            ],
        }
        if rows:
            value["rows"] = [vars(flip).copy() for flip in self.rows]
        return value


def find_flips(reference: Array, candidate: Array, labels: Array) -> Flips:
    """Compare the answers of two models; probabilities float (rows, classes), labels int (rows,)."""
    before, after = reference.argmax(axis=1), candidate.argmax(axis=1)
    sure_before, sure_after = reference.max(axis=1), candidate.max(axis=1)
    changed = before != after
    band = np.searchsorted(BANDS, sure_before, side="left").clip(max=len(BANDS) - 1)
    in_band = np.bincount(band, minlength=len(BANDS)).tolist()
    moved = np.bincount(band[changed], minlength=len(BANDS)).tolist()
    index = np.flatnonzero(changed)
    index = index[np.argsort(-sure_before[index], kind="stable")]
    columns = (index, labels[index], before[index], after[index], sure_before[index], sure_after[index])
    return Flips(
        total=len(labels),
        right_to_wrong=int((changed & (before == labels)).sum()),
        wrong_to_right=int((changed & (after == labels)).sum()),
        wrong_to_other_wrong=int((changed & (before != labels) & (after != labels)).sum()),
        bands=tuple(Band(*cells) for cells in zip((0.0, *BANDS[:-1]), BANDS, in_band, moved, strict=True)),
        rows=tuple(Flip(*cells) for cells in zip(*(column.tolist() for column in columns), strict=True)),
    )
