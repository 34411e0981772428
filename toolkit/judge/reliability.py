"""Whether scores mean what they say, bin by bin: the share right among answers of about the same confidence.

The bins are those of the expected calibration error (15 of equal width, Guo et al. 2017, arXiv:1706.04599),
so the error is the mean gap between the two columns, by rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from toolkit.judge.statistics import CALIBRATION_BINS, confidence_bins
from toolkit.spec import Array


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose confidence is above `low` and at most `high`; both means are None where there are no rows."""

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def reliability(probabilities: Array, labels: Array) -> tuple[ReliabilityBin, ...]:
    """The 15 bins of answers with `probabilities` float (rows, classes) to `labels` int (rows,)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = confidence_bins(confidence)
    rows = np.bincount(place, minlength=CALIBRATION_BINS).tolist()
    sure = np.bincount(place, weights=confidence, minlength=CALIBRATION_BINS).tolist()
    hits = np.bincount(place, weights=right, minlength=CALIBRATION_BINS).tolist()
    return tuple(
        ReliabilityBin(
            low=i / CALIBRATION_BINS,
            high=(i + 1) / CALIBRATION_BINS,
            rows=rows[i],
            confidence=sure[i] / rows[i] if rows[i] else None,
            accuracy=hits[i] / rows[i] if rows[i] else None,
        )
        for i in range(CALIBRATION_BINS)
    )
