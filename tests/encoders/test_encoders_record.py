"""Records: vocabularies and scales from training rows, new users and missing fields as usual cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.encoders import encoder_files, load_encoder
from toolkit.encoders.record import RecordEncoder, learn_fields
from toolkit.errors import InputError

ROLES = {"user": ("category", "user"), "age": ("number", "user"), "genres": ("set", "item")}
RECORDS: list[dict[str, Any]] = [
    {"user": "10", "age": 20, "genres": ["Drama", "喜剧"]},
    {"user": "2", "age": 40, "genres": ["Drama"]},
    {"user": "2", "genres": []},
]


@pytest.fixture
def encoder() -> RecordEncoder:
    return learn_fields(RECORDS, ROLES)


def test_categories_numbers_and_sets(encoder: RecordEncoder) -> None:
    arrays = encoder.encode(RECORDS)
    assert arrays["user"].tolist() == [1, 2, 2]
    assert arrays["user"].dtype == np.int64
    assert arrays["age"].tolist() == [-1.0, 1.0, 0.0]
    assert arrays["genres"].tolist() == [[1, 1], [1, 0], [0, 0]]
    assert {arrays[name].dtype for name in ("age", "genres")} == {np.dtype("float32")}


def test_inputs_tell_shapes(encoder: RecordEncoder) -> None:
    assert [(i.name, i.shape) for i in encoder.inputs] == [
        ("user", ("batch",)),
        ("age", ("batch",)),
        ("genres", ("batch", 2)),
    ]


def test_never_seen_and_missing_are_no_errors(encoder: RecordEncoder) -> None:
    arrays = encoder.encode([{"user": "99", "genres": ["Horror"]}, {}])
    assert arrays["user"].tolist() == [0, 0]
    assert arrays["age"].tolist() == [0.0, 0.0]
    assert not arrays["genres"].any()


def test_a_number_where_words_are_meant_is_its_word(encoder: RecordEncoder) -> None:
    assert encoder.encode([{"user": 10}])["user"].tolist() == [1]


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"usr": "10"}, r"input 1 has 1 unknown field\(s\); allowed: user, age, genres"),
        ("10", "input 1 is str; this model takes records"),
        ({"age": "old"}, "input 1: age must be a finite number"),
        ({"age": float("nan")}, "input 1: age must be a finite number"),
        ({"age": True}, "input 1: age must be a finite number"),
        ({"genres": "Drama"}, "input 1: genres must be a list"),
    ],
)
def test_a_wrong_record_is_refused_by_position(encoder: RecordEncoder, example: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        encoder.encode([RECORDS[0], example])


def test_errors_do_not_repeat_values(encoder: RecordEncoder) -> None:
    with pytest.raises(InputError) as raised:
        encoder.encode([{"secret_field": "secret value"}])
    assert "secret" not in str(raised.value)


def test_a_constant_number_does_not_divide_by_zero() -> None:
    constant = learn_fields([{"age": 30}, {"age": 30}], {"age": ("number", "")})
    assert constant.encode([{"age": 30}, {"age": 31}])["age"].tolist() == [0.0, 1.0]


@settings(deadline=None, max_examples=60)
@given(
    records=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "user": st.text(max_size=5),
                "age": st.floats(-1e6, 1e6),
                "genres": st.lists(st.sampled_from(["Drama", "喜剧", "other"]), max_size=4),
            },
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_record_is_the_same_alone_as_in_a_batch(records: list[dict[str, Any]]) -> None:
    encoder = learn_fields(RECORDS, ROLES)
    batch = encoder.encode(records)
    for row, record in enumerate(records):
        alone = encoder.encode([record])
        assert all(np.array_equal(batch[name][row], alone[name][0]) for name in ROLES)


def test_files_give_the_same_encoder(encoder: RecordEncoder) -> None:
    again = load_encoder(encoder_files(encoder))
    assert isinstance(again, RecordEncoder)
    assert again.fields == encoder.fields
    assert again.files() == encoder.files()
    assert again.encode(RECORDS)["genres"].tolist() == encoder.encode(RECORDS)["genres"].tolist()
