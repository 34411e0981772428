"""Pictures as a client sends them become normalized pixels; what is no picture is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toolkit.encoders import encoder_files, load_encoder
from toolkit.encoders.image import MAX_PIXELS, ImageEncoder, decode_picture
from toolkit.errors import InputError


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def grey() -> ImageEncoder:
    return ImageEncoder(channels=1, height=6, width=4, mean=[0.25], deviation=[0.5])


@pytest.fixture
def colour() -> ImageEncoder:
    return ImageEncoder(channels=3, height=6, width=4, mean=[0.1, 0.2, 0.3], deviation=[0.5, 0.25, 1.0])


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_pixels_are_scaled_shifted_and_divided(colour: ImageEncoder) -> None:
    picture = _noise(6, 4, 3)
    pixels = colour.encode([picture])["pixels"]
    expected = (picture / 255.0 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 1.0]
    assert pixels.shape == (1, 3, 6, 4)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0], np.moveaxis(expected, -1, 0), rtol=1e-5, atol=1e-6)


def test_bytes_and_array_of_a_picture_are_the_same(grey: ImageEncoder, colour: ImageEncoder) -> None:
    for encoder, picture in ((grey, _noise(6, 4)), (colour, _noise(6, 4, 3))):
        batch = encoder.encode([_png(picture), picture])["pixels"]
        assert np.array_equal(batch[0], batch[1])


def test_channels_and_size_are_made_to_fit(grey: ImageEncoder, colour: ImageEncoder) -> None:
    assert grey.encode([_noise(9, 11, 3), _noise(6, 4, 3), _noise(6, 4, 1)])["pixels"].shape == (3, 1, 6, 4)
    made = colour.encode([np.full((20, 30), 51, dtype=np.uint8)])["pixels"]
    np.testing.assert_allclose(made[0, 0], (0.2 - 0.1) / 0.5, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3))
def test_any_size_is_the_same_alone_as_in_a_batch(sizes: list[tuple[int, int]]) -> None:
    encoder = ImageEncoder(channels=1, height=6, width=4, mean=[0.0], deviation=[1.0])
    pictures = [_noise(*size) for size in sizes]
    batch = encoder.encode(pictures)["pixels"]
    assert all(np.array_equal(batch[i], encoder.encode([p])["pixels"][0]) for i, p in enumerate(pictures))


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (b"GIF89a not a picture", "input 1: the bytes are no picture; allowed: PNG"),
        (b"", "input 1: the bytes are no picture"),
        ("text", "input 1 is str; this model takes pictures"),
        (np.zeros((3, 3), dtype=np.float32), "input 1 is float32 of shape"),
        (np.zeros((0, 3), dtype=np.uint8), "input 1 is uint8 of shape"),
    ],
)
def test_what_is_no_picture_is_refused_by_position(grey: ImageEncoder, example: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        grey.encode([_noise(6, 4), example])


def test_half_a_picture_is_refused() -> None:
    with pytest.raises(InputError, match="no picture"):
        decode_picture(_png(_noise(64, 64))[:900])


def test_a_decompression_bomb_is_refused_before_its_pixels_are_made() -> None:
    side = 9_000  # below what Pillow refuses by itself
    assert side * side > MAX_PIXELS

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match="9000x9000 pixels; at most 50000000"):
        decode_picture(bomb)


def test_transparency_and_one_bit_pictures_are_read() -> None:
    assert decode_picture(_png(_noise(5, 7, 4))).shape == (5, 7, 3)
    assert decode_picture(_png(_noise(5, 7) > 128)).shape == (5, 7)


def test_mean_and_deviation_must_match_the_channels() -> None:
    with pytest.raises(InputError, match="one value a channel; channels: 3"):
        ImageEncoder(channels=3, height=4, width=4, mean=[0.5], deviation=[0.5, 0.5, 0.5])


def test_files_give_the_same_encoder(colour: ImageEncoder) -> None:
    again = load_encoder(encoder_files(colour))
    assert again.inputs == colour.inputs
    assert again.files() == colour.files()
    assert np.array_equal(again.encode([_noise(8, 8, 3)])["pixels"], colour.encode([_noise(8, 8, 3)])["pixels"])
