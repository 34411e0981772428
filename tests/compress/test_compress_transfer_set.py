"""Rows for a teacher to answer: pictures and records noised, unlabeled rows held against those that judge."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from compress_samples import Sample

from toolkit.compress.transfer_pictures import noised_pictures
from toolkit.compress.transfer_records import group_fields, noised_records
from toolkit.compress.transfer_set import make_transfer_set
from toolkit.data import hash_rows
from toolkit.data.images import load_digits
from toolkit.errors import InputError, RecipeError

PICTURES = [
    np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8),
    np.random.default_rng(1).integers(0, 256, (20, 32, 3), dtype=np.uint8),
]
RECORDS = [
    {"user": f"u{row % 7}", "item": f"i{row % 5}", "age": 20.0 + row % 7, "genres": [f"g{row % 5}"], "hour": row % 24}
    for row in range(60)
]


def test_pictures_are_the_same_from_one_seed_and_keep_their_form() -> None:
    before = [picture.copy() for picture in PICTURES]
    first, again, other = (noised_pictures(PICTURES, copies=2, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(first, other, strict=True))
    assert [(copy.dtype, copy.shape) for copy in first] == [(p.dtype, p.shape) for p in PICTURES] * 2
    assert all(np.array_equal(*pair) for pair in zip(PICTURES, before, strict=True))
    more = noised_pictures(PICTURES, copies=3, seed=0)
    assert all(np.array_equal(*pair) for pair in zip(more[:4], first, strict=True))


def test_an_even_picture_stays_even_and_a_dot_moves_two_pixels_at_most() -> None:
    assert all((copy == 77).all() for copy in noised_pictures([np.full((16, 16), 77, np.uint8)], copies=9, seed=0))
    dot = np.zeros((33, 33), dtype=np.uint8)
    dot[16, 16] = 255
    copies = noised_pictures([dot], copies=40, seed=0)
    seen = [copy for copy in copies if copy.max() > 60]  # the patch may cover it
    places = [np.argwhere(copy > 50).mean(axis=0) - 16 for copy in seen]
    assert len(places) > 20
    assert np.abs(places).max() <= 2.5
    assert np.std(places) > 0.5


def test_a_copy_of_a_digit_is_nearer_to_it_than_another_digit() -> None:
    digits = list(load_digits().examples[:100])
    copies = noised_pictures(digits, copies=1, seed=0)
    apart = [np.abs(c.astype(float) - d).mean() for c, d in zip(copies, digits, strict=True)]
    others = [np.abs(a.astype(float) - b).mean() for a, b in pairwise(digits)]
    assert 0 < np.mean(apart) < 0.8 * np.mean(others)


def test_bytes_of_a_picture_are_read_and_what_is_none_is_refused() -> None:
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(PICTURES[0]).save(buffer, format="PNG")
    assert np.array_equal(
        noised_pictures([buffer.getvalue()], copies=1, seed=0)[0], noised_pictures(PICTURES[:1], copies=1, seed=0)[0]
    )
    with pytest.raises(InputError, match="row 1 is str; noised copies are made of pictures"):
        noised_pictures([PICTURES[0], "a text"], copies=1, seed=0)  # type: ignore[list-item]
    with pytest.raises(RecipeError, match="copies is -1"):
        noised_pictures(PICTURES, copies=-1, seed=0)


def test_an_identifier_brings_what_belongs_to_it() -> None:
    assert sorted(group_fields(RECORDS)) == [("age",), ("genres",), ("hour",), ("item", "genres"), ("user", "age")]
    first = noised_records(RECORDS, copies=3, seed=0)
    assert first == noised_records(RECORDS, copies=3, seed=0)
    assert first[:60] == noised_records(RECORDS, copies=1, seed=0)
    assert len({repr(record) for record in first} - {repr(record) for record in RECORDS}) > 60
    for copy, record in zip(first, RECORDS * 3, strict=True):
        assert list(copy) == list(record)
        if copy["user"] != record["user"]:
            assert copy["age"] == 20.0 + int(copy["user"][1:])
        if copy["item"] != record["item"]:
            assert copy["genres"] == [f"g{copy['item'][1:]}"]


def test_a_field_that_the_other_row_lacks_is_gone() -> None:
    rows = [{"user": "a", "item": "x", "year": 1990.0}, {"user": "b", "item": "y"}]
    copies = noised_records(rows, copies=40, seed=0)
    assert any("year" not in copy for copy in copies[::2])
    assert any(copy.get("year") == 1990.0 for copy in copies[1::2])


def test_records_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="row 0 is str; noised copies are made of records"):
        noised_records(["text"], copies=1, seed=0)  # type: ignore[list-item]
    with pytest.raises(RecipeError, match="copies is -2"):
        noised_records(RECORDS, copies=-2, seed=0)


def test_unlabeled_rows_that_judge_or_repeat_are_dropped_and_counted(transformer: Sample) -> None:
    data = transformer.data
    judge, known = data.split("test").examples[3], data.split("train").examples[5]
    texts = [
        "A question nobody asked ?",
        judge,
        f"  {judge.upper()} ",
        known,
        "a  question NOBODY asked ?",
        "Another ?",
    ]
    made = make_transfer_set(data, copies=2, unlabeled=texts, seed=0, mask="[MASK]")
    assert list(made.unlabeled) == ["A question nobody asked ?", "Another ?"]
    assert (made.held_out, made.repeated) == (2, 2)
    assert [len(part) for part in made.parts] == [700, 700, 2]
    judges = np.concatenate([hash_rows(data.split(name).examples) for name in ("validation", "test")])
    assert not np.isin(hash_rows(made.parts[-1]), judges).any()


def test_neither_copies_nor_rows_is_an_empty_set(transformer: Sample) -> None:
    made = make_transfer_set(transformer.data)
    assert made.parts == ()
    assert (made.unlabeled, made.held_out, made.repeated) == ([], 0, 0)


@pytest.mark.parametrize("row", ["  ", 7])
def test_an_unlabeled_row_that_is_no_text_is_refused(transformer: Sample, row: object) -> None:
    with pytest.raises(InputError, match="unlabeled row 1 is"):
        make_transfer_set(transformer.data, unlabeled=["a text", row])
