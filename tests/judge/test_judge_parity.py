"""Parity: a tight yes or no that no NaN, no missing row and no other shape can slip through."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.errors import InputError
from toolkit.judge.parity import parity
from toolkit.spec import Array, Arrays


class Linear:
    """A real model of one matrix, off by `error` in its first logit."""

    def __init__(self, error: float = 0.0, classes: int = 3) -> None:
        self.weights = np.random.default_rng(0).normal(size=(4, classes)).astype(np.float32)
        self.error = error

    def run(self, arrays: Arrays) -> Array:
        with np.errstate(invalid="ignore"):  # some tests put infinity in
            logits = arrays["x"] @ self.weights
        logits[:, 0] += self.error
        return logits


def batches(*rows: int, scale: float = 1.0) -> list[dict[str, Array]]:
    generator = np.random.default_rng(1)
    return [{"x": (scale * generator.normal(size=(count, 4))).astype(np.float32)} for count in rows]


def test_the_same_model_passes_with_no_difference() -> None:
    found = parity(Linear(), Linear(), batches(1, 2, 7))
    assert found.max_relative_difference == 0.0
    assert found.passed()
    assert found.rows == 10
    assert found.shapes == ((1, 4), (2, 4), (7, 4))


def test_a_difference_above_the_tolerance_fails_and_names_its_shape() -> None:
    small, large = batches(2, 5)
    honest, wrong = Linear(), Linear(error=0.01)
    found = parity(honest, wrong, [small, large])
    assert not found.passed()
    assert found.worst in found.shapes
    assert 1e-3 < found.max_relative_difference <= 0.0101
    assert found.passed(tolerance=0.02)


def test_the_difference_is_relative_to_large_logits_and_absolute_for_small() -> None:
    assert parity(Linear(), Linear(error=0.01), batches(3, scale=1e4)).max_relative_difference < 1e-4
    assert parity(Linear(), Linear(error=0.01), batches(3, scale=1e-6)).max_relative_difference == pytest.approx(0.01)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_logit_that_is_no_number_never_passes(poison: float, place: int) -> None:
    given = batches(2, 2, 2)
    given[place]["x"][0, 0] = poison
    found = parity(Linear(), Linear(), given)
    assert not found.passed()
    assert not found.passed(tolerance=1e9)
    assert found.to_json()["max_relative_difference"] is None
    assert found.to_json()["passed"] is False


def test_answers_of_another_shape_never_pass() -> None:
    found = parity(Linear(), Linear(classes=2), batches(2))
    assert not found.passed(tolerance=1e9)


def test_comparing_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="over no rows"):
        parity(Linear(), Linear(), [])


def test_json_holds_what_was_compared() -> None:
    assert parity(Linear(), Linear(), batches(2, 1)).to_json() == {
        "max_relative_difference": 0.0,
        "tolerance": 1e-4,
        "passed": True,
        "rows": 3,
        "shapes": [[2, 4], [1, 4]],
        "worst": [2, 4],
    }
