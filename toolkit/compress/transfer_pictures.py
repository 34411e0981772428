"""A transfer set of pictures: shifted, turned a little and with a patch covered, for a teacher to answer.

Each copy stays a picture of what it was, so near that a net should say the same, and so far that a student
meets more than its few thousand rows. Written in numpy: nothing of it is needed where the model serves.
No mirror images and no changes of colour, since a digit mirrored is no digit.

A copy is a uint8 array of the picture's own size; what moves in from outside repeats the edge.
Source: Simard et al. 2003 for shifts and turns; DeVries and Taylor 2017 (arXiv:1708.04552), cutout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.encoders.image import decode_picture
from toolkit.errors import InputError, RecipeError
from toolkit.spec import Array

SHIFT = 2.0  # pixels; less in a picture below 16 of them
TURN = 10.0  # degrees
CUT_SHARE, CUT_SIDE = 0.5, 0.25  # of the copies; of the shorter side


def noised_pictures(examples: Sequence[bytes | Array], *, copies: int, seed: int) -> list[Array]:
    """`copies` noised pictures of each example, copy by copy in the order of the examples.

    An example is the bytes of a picture or uint8 (height, width) or (height, width, channels). A copy depends on
    seed, copy and row alone. Raises `RecipeError` for copies below 0, `InputError` for what is no picture.
    """
    if copies < 0:
        raise RecipeError(f"copies is {copies}; allowed: 0 or more noised copies of each training picture")
    return [
        _noised(_pixels(example, row), np.random.default_rng((seed, copy, row)))
        for copy in range(copies)
        for row, example in enumerate(examples)
    ]


def _pixels(example: bytes | Array, row: int) -> Array:
    if isinstance(example, bytes):
        return decode_picture(example)
    if not isinstance(example, np.ndarray) or example.dtype != np.uint8 or example.ndim not in (2, 3):
        kind = type(example).__name__
        raise InputError(f"row {row} is {kind}; noised copies are made of pictures: bytes or uint8: copies=0")
    return example


def _noised(picture: Array, chance: np.random.Generator) -> Array:
    height, width = picture.shape[:2]
    reach = min(SHIFT, min(height, width) / 8)
    down, right = chance.uniform(-reach, reach, size=2)
    angle = np.deg2rad(chance.uniform(-TURN, TURN))
    moved = _move(picture, float(down), float(right), float(angle))
    side = int(min(height, width) * CUT_SIDE)
    if side and chance.random() < CUT_SHARE:
        top, left = chance.integers(0, height - side + 1), chance.integers(0, width - side + 1)
        moved[top : top + side, left : left + side] = moved.mean(axis=(0, 1)).astype(np.uint8)
    return moved


def _move(picture: Array, down: float, right: float, angle: float) -> Array:
    """The picture turned about its middle by `angle` (radians), then shifted; between pixels it is interpolated."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    y, x = rows - middle_row - down, columns - middle_column - right
    sources = (
        np.clip(np.cos(angle) * y - np.sin(angle) * x + middle_row, 0, height - 1),
        np.clip(np.sin(angle) * y + np.cos(angle) * x + middle_column, 0, width - 1),
    )
    (low_row, low_column), (part_row, part_column) = (
        [np.floor(source).astype(np.int64) for source in sources],
        [source - np.floor(source) for source in sources],
    )
    high_row, high_column = np.minimum(low_row + 1, height - 1), np.minimum(low_column + 1, width - 1)
    if picture.ndim == 3:
        part_row, part_column = part_row[..., None], part_column[..., None]
    above = picture[low_row, low_column] * (1 - part_column) + picture[low_row, high_column] * part_column
    below = picture[high_row, low_column] * (1 - part_column) + picture[high_row, high_column] * part_column
    result: Array = np.rint(above * (1 - part_row) + below * part_row).astype(np.uint8)
    return result
