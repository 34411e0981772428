"""Pictures to normalized pixels: decode, convert, resize, scale, subtract mean, divide by deviation.

A picture is what a client sends: the bytes of a PNG or JPEG, or a uint8 array (height, width) or
(height, width, 3). A decompression bomb is refused before its pixels are made.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError, require
from toolkit.spec import Array, Input

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF")
MAX_PIXELS = 50_000_000


class ImageEncoder:
    """`pixels`, float32 of shape (batch, channels, height, width)."""

    kind = "image"

    def __init__(
        self, *, channels: int, height: int, width: int, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        if len(mean) != channels or len(deviation) != channels:
            raise InputError(f"mean and deviation need one value a channel; channels: {channels}")
        self.channels, self.height, self.width = channels, height, width
        self.mean = np.asarray(mean, dtype=np.float32)
        self.deviation = np.asarray(deviation, dtype=np.float32)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("pixels", "float32", ("batch", self.channels, self.height, self.width)),)

    @property
    def limits(self) -> dict[str, tuple[int, int]]:
        return {}

    def size(self, example: Any) -> int:
        return 1

    def encode(self, examples: Sequence[Any]) -> dict[str, Array]:
        pixels = np.empty((len(examples), self.channels, self.height, self.width), dtype=np.float32)
        for position, example in enumerate(examples):
            pixels[position] = self._pixels(example, position)
        return {"pixels": pixels}

    def _pixels(self, example: Any, position: int) -> Array:
        array = example if isinstance(example, np.ndarray) else _decode(example, position)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
            raise InputError(
                f"input {position} is {array.dtype} of shape {array.shape}; this model takes uint8 pictures "
                "(height, width) or (height, width, 3)"
            )
        array = self._fit(array)
        scaled = array.astype(np.float32) / np.float32(255.0)
        result: Array = np.moveaxis((scaled - self.mean) / self.deviation, -1, 0)
        return result

    def _fit(self, array: Array) -> Array:
        """Channels and size as the model wants them; uint8 of shape (height, width, channels)."""
        grey = array.ndim == 2 or array.shape[2] == 1
        same_channels = grey == (self.channels == 1)
        if same_channels and array.shape[:2] == (self.height, self.width):
            return array.reshape(self.height, self.width, self.channels)
        image = require("PIL.Image", extra="serve")
        picture = image.fromarray(array.reshape(array.shape[:2]) if grey else array)
        picture = picture.convert("L" if self.channels == 1 else "RGB")
        if picture.size != (self.width, self.height):
            picture = picture.resize((self.width, self.height), image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8).reshape(self.height, self.width, self.channels)

    def files(self) -> dict[str, bytes]:
        settings = {
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
        }
        return {"settings.json": json.dumps(settings, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> ImageEncoder:
        return cls(**json.loads(files["settings.json"]))


def decode_picture(content: bytes) -> Array:
    """Pixels of an encoded picture, uint8 (height, width) or (height, width, 3).

    Raises `InputError` when the bytes are no picture of a known format or make too many pixels.
    """
    image = require("PIL.Image", extra="serve")
    try:
        with image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"the picture has {picture.width}x{picture.height} pixels; at most {MAX_PIXELS}")
            mode = "L" if picture.mode in ("1", "L", "I;16", "LA") else "RGB"
            return np.asarray(picture.convert(mode), dtype=np.uint8)
    except InputError:
        raise
    except Exception:  # a decoder meets hostile bytes; whatever it raises, they are no picture
        raise InputError(f"the bytes are no picture; allowed: {', '.join(FORMATS)}") from None


def _decode(example: Any, position: int) -> Array:
    if not isinstance(example, bytes):
        raise InputError(f"input {position} is {type(example).__name__}; this model takes pictures (bytes or uint8)")
    try:
        return decode_picture(example)
    except InputError as error:
        raise InputError(f"input {position}: {error}") from None
