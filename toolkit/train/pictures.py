"""A cnn made ready: picture size, channels, mean and deviation come from the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from toolkit.encoders.image import ImageEncoder, decode_picture
from toolkit.nets import build_net
from toolkit.spec import Array
from toolkit.train.preparation import Prepared, choose_sizes, sample_rows

LARGEST = 224
CHUNK = 64


def prepare_picture(
    pictures: Sequence[bytes | Array], *, labels: int, sizes: Mapping[str, Any] | None, dropout: float
) -> Prepared:
    """A cnn for training `pictures`; `sizes` takes "height", "width", "channels" besides the net's own.

    Left to itself it takes the median height and width, at most `LARGEST`, one channel when all are grey.
    """
    measured = [_shape(picture) for picture in sample_rows(pictures, 200)]
    height, width = (min(int(median(shape[axis] for shape in measured)), LARGEST) for axis in (0, 1))
    larger = max(height, width)
    defaults = {
        "height": height,
        "width": width,
        "channels": 1 if all(shape[2] == 1 for shape in measured) else 3,
        "stages": (32, 64, 128),
        "inner": ((32,), (64,), (128,)),
        "stem_stride": 1 if larger <= 64 else 2 if larger <= 128 else 4,
    }
    chosen = choose_sizes("cnn", defaults, sizes)
    encoder = measure_pictures(
        sample_rows(pictures), height=chosen.pop("height"), width=chosen.pop("width"), channels=chosen["channels"]
    )
    return Prepared(build_net("cnn", {**chosen, "labels": labels, "dropout": dropout}), encoder)


def measure_pictures(pictures: Sequence[bytes | Array], *, height: int, width: int, channels: int) -> ImageEncoder:
    """The encoder that gives these pictures mean 0 and deviation 1 in each channel."""
    plain = ImageEncoder(
        channels=channels, height=height, width=width, mean=[0.0] * channels, deviation=[1.0] * channels
    )
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    for start in range(0, len(pictures), CHUNK):
        pixels = plain.encode(pictures[start : start + CHUNK])["pixels"].astype(np.float64)
        total += pixels.sum(axis=(0, 2, 3))
        squares += np.square(pixels).sum(axis=(0, 2, 3))
        count += pixels.size // channels
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation < 1e-6] = 1.0  # a channel that never changes
    return ImageEncoder(channels=channels, height=height, width=width, mean=mean.tolist(), deviation=deviation.tolist())


def _shape(picture: bytes | Array) -> tuple[int, int, int]:
    array = decode_picture(picture) if isinstance(picture, bytes) else picture
    return array.shape[0], array.shape[1], array.shape[2] if array.ndim == 3 else 1
