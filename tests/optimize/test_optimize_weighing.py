"""Scores and their errors, from answers alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.optimize.weighing import paired_error


@given(both=st.integers(0, 300), gained=st.integers(0, 50), lost=st.integers(0, 50), neither=st.integers(1, 50))
def test_the_error_of_a_paired_difference_is_that_of_its_discordant_rows(
    both: int, gained: int, lost: int, neither: int
) -> None:
    reference = np.repeat([True, False, True, False], [both, gained, lost, neither])
    candidate = np.repeat([True, True, False, False], [both, gained, lost, neither])
    rows = len(reference)
    expected = np.sqrt((gained + lost) / rows - ((gained - lost) / rows) ** 2) / np.sqrt(rows)
    assert paired_error(reference, candidate) == pytest.approx(expected, abs=1e-12)


def test_equal_answers_have_no_error() -> None:
    right = np.array([True, False, True])
    assert paired_error(right, right) == 0.0
