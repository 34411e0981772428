"""Shapes of an engine: from the spec and the data's own lengths, holding what they say they hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.engines.profiles import Profile, choose_profile, derive_profiles
from toolkit.errors import ArtifactError, InputError, RecipeError
from toolkit.spec import Input, Spec

SIZES = ("batch", "length")
INPUTS = (Input("input_ids", "int64", SIZES), Input("attention_mask", "int64", SIZES))
TEXT = Spec("text", INPUTS, ("a", "b"), {"length": (1, 64)})
PICTURE = Spec("image", (Input("pixels", "float32", ("batch", 1, 28, 28)),), ("a", "b"))


def test_one_row_is_as_long_as_the_median_and_many_as_long_as_the_long_ones() -> None:
    alone, together = derive_profiles(TEXT, lengths=[*([10] * 90), *([30] * 10)], max_batch=128, best_batch=16)
    assert alone.to_json()["input_ids"] == [[1, 1], [1, 10], [1, 64]]
    assert together.to_json()["input_ids"] == [[1, 1], [16, 30], [128, 64]]
    assert together.ranges["attention_mask"] == together.ranges["input_ids"]


def test_without_lengths_the_longest_counts_as_usual() -> None:
    alone, _ = derive_profiles(TEXT)
    assert alone.ranges["input_ids"].best == (1, 64)


def test_a_picture_varies_in_batch_alone() -> None:
    alone, together = derive_profiles(PICTURE, max_batch=8)
    assert alone.ranges["pixels"].least == alone.ranges["pixels"].most == (1, 1, 28, 28)
    assert together.ranges["pixels"].most == (8, 1, 28, 28)
    assert together.ranges["pixels"].best == (8, 1, 28, 28), "the best batch may not pass the most"


def test_one_row_at_most_needs_one_profile() -> None:
    assert len(derive_profiles(TEXT, max_batch=1, best_batch=1)) == 1


def test_an_axis_that_nothing_bounds_is_refused() -> None:
    free = Spec("text", (Input("input_ids", "int64", ("batch", "length")),), ("a", "b"))
    with pytest.raises(InputError, match="'length' varies and nothing bounds it"):
        derive_profiles(free)


@pytest.mark.parametrize(("most", "best"), [(0, 1), (8, 0), (-1, 32)])
def test_batches_out_of_order_are_refused(most: int, best: int) -> None:
    with pytest.raises(RecipeError, match="1 or more"):
        derive_profiles(TEXT, max_batch=most, best_batch=best)


@given(
    lengths=st.lists(st.integers(0, 200), max_size=40), high=st.integers(1, 128), low=st.integers(0, 4),
    batch=st.integers(1, 300), rows=st.integers(1, 300), length=st.integers(1, 128),
)  # fmt: skip
def test_every_shape_that_the_spec_and_the_batch_allow_has_a_profile(
    lengths: list[int], high: int, low: int, batch: int, rows: int, length: int
) -> None:
    spec = Spec("text", TEXT.inputs, TEXT.labels, {"length": (min(low, high), high)})
    profiles = derive_profiles(spec, lengths=lengths, max_batch=batch)
    for profile in profiles:
        for allowed in profile.ranges.values():
            assert all(a <= b <= c for a, b, c in zip(allowed.least, allowed.best, allowed.most, strict=True))
            assert allowed.holds(allowed.best)
    shapes = {"input_ids": (rows, length), "attention_mask": (rows, length)}
    if rows <= batch and max(min(low, high), 1) <= length <= high:
        place = choose_profile(profiles, shapes)
        assert profiles[place].holds(shapes)
        assert place == (0 if rows == 1 else 1), "one row alone has its own kernels"
    else:
        with pytest.raises(InputError, match="built for"):
            choose_profile(profiles, shapes)


def test_profiles_survive_json_and_nothing_else_is_taken() -> None:
    for profile in derive_profiles(TEXT, lengths=[3, 9]):
        assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    for wrong in ([], {"input_ids": [[1]]}, {"input_ids": "abc"}, {"input_ids": [["x"], [1], [2]]}, None):
        with pytest.raises(ArtifactError, match="cannot be read"):
            Profile.from_json(wrong)
