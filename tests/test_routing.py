"""The router: which rows are unsure, and what of it survives its own file."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.routing import DEFER_ALL, Router, arrays_of, join_arrays, join_specs, margins
from toolkit.spec import Input, Spec


def test_the_margin_is_between_the_two_most_probable_labels() -> None:
    probabilities = np.asarray([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0], [0.4, 0.2, 0.4]])
    assert margins(probabilities) == pytest.approx([0.2, 1.0, 0.0])


def test_rows_below_the_threshold_and_rows_that_are_no_numbers_are_unsure() -> None:
    probabilities = np.asarray([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [np.nan, np.nan]])
    assert Router(0.5, 0.5, 0.9).unsure(probabilities) == [0, 3]
    assert Router(0.0, 0.0, 0.9).unsure(probabilities[:3]) == []
    assert Router(DEFER_ALL, 1.0, 0.9).unsure(probabilities) == [0, 1, 2, 3]
    assert Router(0.5, 0.5, 0.9).unsure(np.zeros((0, 2))) == []


def test_a_router_and_the_margins_it_was_chosen_by_agree_to_the_last_digit() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), size=300)
    for threshold in margins(probabilities)[::10].tolist():
        expected = np.flatnonzero(margins(probabilities) < threshold).tolist()
        assert Router(threshold, 0.5, 0.9).unsure(probabilities) == expected


def test_a_router_survives_its_json() -> None:
    router = Router(0.1 + 0.2, 1 / 3, 0.875, within_budget=False)
    assert Router.from_json(router.to_json()) == router


@pytest.mark.parametrize(
    "numbers", [(-0.1, 0.5, 0.5), (float("nan"), 0.5, 0.5), (float("inf"), 0.5, 0.5), (0.1, 1.5, 0.5), (0.1, 0.5, -1.0)]
)
def test_numbers_out_of_range_are_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="is not"):
        Router(*numbers)


def test_arrays_and_axes_of_members_do_not_meet() -> None:
    one = Spec("text", (Input("ids", "int64", ("batch", "length")),), ("a", "b"), {"length": (1, 9)})
    two = Spec("text", (Input("ids", "int64", ("batch", "length")),), ("a", "b"), {"length": (1, 5)})
    spec = join_specs({"small": one, "large": two})
    arrays = {"small": {"ids": np.ones((2, 7), np.int64)}, "large": {"ids": np.ones((2, 3), np.int64)}}
    joined = join_arrays(arrays)
    assert spec.check(joined) == 2
    assert spec.limits == {"small.length": (1, 9), "large.length": (1, 5)}
    assert arrays_of("large", joined)["ids"].shape == (2, 3)
    assert arrays_of("small", joined)["ids"].shape == (2, 7)
