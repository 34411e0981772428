"""A cnn's encoder makes its training pixels mean 0 and deviation 1, and takes its sizes from the pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolkit.errors import RecipeError
from toolkit.train.pictures import measure_pictures, prepare_picture

CHANCE = np.random.default_rng(0)
GREY = list(CHANCE.integers(0, 200, size=(70, 9, 12), dtype=np.uint8))
COLOUR = list(CHANCE.integers(20, 256, size=(70, 10, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize(("pictures", "channels"), [(GREY, 1), (COLOUR, 3)])
def test_mean_and_deviation_are_those_of_the_training_rows(pictures: list[Any], channels: int) -> None:
    height, width = pictures[0].shape[:2]
    pixels = measure_pictures(pictures, height=height, width=width, channels=channels).encode(pictures)["pixels"]
    assert pixels.mean(axis=(0, 2, 3)) == pytest.approx(np.zeros(channels), abs=1e-4)
    assert pixels.std(axis=(0, 2, 3)) == pytest.approx(np.ones(channels), abs=1e-4)


def test_a_channel_that_never_changes_divides_by_one() -> None:
    encoder = measure_pictures([np.full((4, 4), 51, dtype=np.uint8)] * 3, height=4, width=4, channels=1)
    assert encoder.deviation.tolist() == [1.0]
    assert np.abs(encoder.encode([np.full((4, 4), 51, dtype=np.uint8)])["pixels"]).max() < 1e-6


def test_sizes_come_from_the_pictures_and_may_be_given() -> None:
    grey = prepare_picture(GREY, labels=2, sizes=None, dropout=0.1)
    assert grey.encoder.inputs[0].shape == ("batch", 1, 9, 12)
    colour = prepare_picture([*GREY[:3], *COLOUR], labels=2, sizes={"height": 16, "width": 16}, dropout=0.1)
    assert colour.encoder.inputs[0].shape == ("batch", 3, 16, 16)
    large = [np.zeros((500, 300), dtype=np.uint8)]
    net: Any = prepare_picture(large, labels=2, sizes=None, dropout=0.1).net
    assert net.sizes.stem_stride == 4


def test_encoded_pictures_are_measured_too() -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR[0]).save(buffer, format="PNG")
    prepared = prepare_picture([buffer.getvalue()] * 2, labels=2, sizes=None, dropout=0.1)
    assert prepared.encoder.inputs[0].shape == ("batch", 3, 10, 8)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(RecipeError, match="cnn has no size 'depth'; allowed: height, width, channels"):
        prepare_picture(GREY, labels=2, sizes={"depth": 3}, dropout=0.1)
