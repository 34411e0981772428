"""Bins of confidence: every row in one of them, and their gaps are the calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.judge.reliability import reliability
from toolkit.judge.statistics import CALIBRATION_BINS, calibration_error
from toolkit.spec import softmax


def test_bins_by_hand() -> None:
    probabilities = np.array([[0.62, 0.38], [0.38, 0.62], [0.65, 0.35], [0.99, 0.01]])
    bins = reliability(probabilities, np.array([0, 0, 0, 1]))
    filled = {round(found.low, 3): found for found in bins if found.rows}
    assert list(filled) == [0.6, 0.933]
    middle, top = filled.values()
    assert (middle.rows, middle.accuracy, middle.confidence) == (3, pytest.approx(2 / 3), pytest.approx(0.63))
    assert (top.rows, top.accuracy, top.confidence) == (1, 0.0, pytest.approx(0.99))
    assert all(found.accuracy is None and found.confidence is None for found in bins if not found.rows)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    bins = reliability(np.array([[0.6, 0.4], [0.6000001, 0.3999999]]), np.array([0, 0]))
    assert [(round(found.high, 3), found.rows) for found in bins if found.rows] == [(0.6, 1), (0.667, 1)]


@given(rows=st.integers(1, 60), classes=st.integers(2, 5), seed=st.integers(0, 2**16))
def test_they_add_up_to_the_calibration_error(rows: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = softmax(3 * rng.normal(size=(rows, classes)))
    labels = rng.integers(0, classes, rows)
    bins = reliability(probabilities, labels)
    assert len(bins) == CALIBRATION_BINS
    assert sum(found.rows for found in bins) == rows
    gap = sum(found.rows * abs(found.confidence - found.accuracy) for found in bins if found.rows)
    assert gap / rows == pytest.approx(calibration_error(probabilities, labels))
    for found in bins:
        assert found.confidence is None or found.low - 1e-9 <= found.confidence <= found.high + 1e-9
