"""Flips are counted by kind and by confidence, and name rows without copying them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.judge.flips import BANDS, find_flips


def test_flips_by_hand() -> None:
    before = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.0, 0.9], [0.995, 0.005, 0.0]])
    after = np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])
    flips = find_flips(before, after, np.array([1, 2, 2, 0]))
    assert (flips.wrong_to_right, flips.wrong_to_other_wrong, flips.right_to_wrong) == (1, 1, 1)
    assert (flips.count, flips.share) == (3, 0.75)
    assert [flip.row for flip in flips.rows] == [3, 1, 0]  # the surest first
    surest = flips.rows[0]
    assert (surest.label, surest.reference, surest.candidate) == (0, 0, 1)
    assert (surest.reference_confidence, surest.candidate_confidence) == (0.995, 0.5)
    assert [(band.rows, band.flips) for band in flips.bands] == [(0, 0), (2, 2), (1, 0), (0, 0), (1, 1)]


def test_json_lists_rows_only_when_asked() -> None:
    before, after = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.4, 0.6], [0.2, 0.8]])
    flips = find_flips(before, after, np.array([0, 1]))
    assert "rows" not in flips.to_json()
    assert flips.to_json(rows=True)["rows"] == [
        {"row": 0, "label": 0, "reference": 0, "candidate": 1, "reference_confidence": 0.9, "candidate_confidence": 0.6}
    ]


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 99))
def test_kinds_and_bands_add_up(rows: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.dirichlet(np.ones(classes), rows), rng.dirichlet(np.ones(classes), rows)
    flips = find_flips(before, after, rng.integers(0, classes, rows))
    assert flips.count == (before.argmax(1) != after.argmax(1)).sum()
    assert flips.right_to_wrong + flips.wrong_to_right + flips.wrong_to_other_wrong == flips.count
    assert sum(band.rows for band in flips.bands) == rows
    assert sum(band.flips for band in flips.bands) == flips.count
    assert [band.high for band in flips.bands] == list(BANDS)
    back = find_flips(after, before, rng.integers(0, classes, rows))
    assert back.count == flips.count
