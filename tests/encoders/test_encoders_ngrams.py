"""Hashed n-grams: stable ids, words before pieces, any script."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.encoders import encoder_files, load_encoder
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.errors import InputError

VISIBLE = st.text(min_size=1, max_size=60).filter(str.strip)


def _id(ngram: str, buckets: int) -> int:
    return zlib.crc32(ngram.encode()) % buckets + 1


def test_words_pairs_and_pieces_in_this_order() -> None:
    ids = NgramEncoder(buckets=1000).encode(["Hi you"])["input_ids"][0].tolist()
    expected = ["hi", "you", "hi you", "<hi", "hi>", "<hi>", "<yo", "you", "ou>", "<you", "you>", "<you>"]
    assert ids == [_id(ngram, 1000) for ngram in expected]


def test_case_does_not_count_and_zero_is_padding_only() -> None:
    encoder = NgramEncoder(buckets=50)
    arrays = encoder.encode(["LOUD", "loud and clear"])
    assert np.array_equal(arrays["input_ids"][0, :5], encoder.encode(["loud"])["input_ids"][0, :5])
    assert ((arrays["input_ids"] == 0) == (arrays["attention_mask"] == 0)).all()
    assert arrays["input_ids"].max() <= 50 == encoder.vocabulary_size - 1


def test_long_text_loses_pieces_before_words() -> None:
    ids = NgramEncoder(buckets=1000, max_length=3).encode(["one two three four"])["input_ids"]
    assert ids.tolist() == [[_id(word, 1000) for word in ("one", "two", "three")]]


@pytest.mark.parametrize("text", ["谁写了红楼梦", "من كتب هذا", "🎉🎉🎉", "!", "‍", "é"])
def test_scripts_of_all_kinds_have_features(text: str) -> None:
    assert NgramEncoder().encode([text])["attention_mask"].sum() >= 1


def test_texts_without_spaces_share_pieces() -> None:
    encoder = NgramEncoder()
    first, second = (set(encoder.encode([t])["input_ids"][0].tolist()) for t in ("谁写了红楼梦", "他读了红楼梦吗"))
    assert _id("红楼梦", encoder.buckets) in first & second


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(VISIBLE, min_size=1, max_size=4))
def test_any_text_is_the_same_alone_as_in_a_batch(texts: list[str]) -> None:
    encoder = NgramEncoder(buckets=997, max_length=40)
    batch = encoder.encode(texts)
    for row, text in enumerate(texts):
        alone = encoder.encode([text])["input_ids"][0]
        used = int(batch["attention_mask"][row].sum())
        assert np.array_equal(batch["input_ids"][row, :used], alone)
        assert not batch["input_ids"][row, used:].any()


def test_empty_text_is_refused() -> None:
    with pytest.raises(InputError, match="input 0 is empty"):
        NgramEncoder().encode([" "])


def test_files_give_the_same_encoder() -> None:
    encoder = NgramEncoder(buckets=77, max_length=9)
    again = load_encoder(encoder_files(encoder))
    assert isinstance(again, NgramEncoder)
    assert (again.buckets, again.limits) == (77, {"length": (1, 9)})
    assert np.array_equal(again.encode(["a b c"])["input_ids"], encoder.encode(["a b c"])["input_ids"])
