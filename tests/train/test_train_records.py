"""Roles of fields are read off the records."""

from __future__ import annotations

import pytest

from toolkit.errors import DataError
from toolkit.train.records import infer_roles, prepare_record

RECORDS = [
    {"user": "u1", "item": "i1", "age": 20.0, "sex": "F", "genres": ["drama"], "year": 1990, "hour": 3},
    {"user": "u1", "item": "i2", "age": 20.0, "sex": "F", "genres": ["comedy", "war"], "hour": 4},
    {"user": "u2", "item": "i1", "age": 31.0, "sex": "M", "genres": ["drama"], "year": 1990, "hour": 3},
]


def test_roles_and_sides() -> None:
    assert infer_roles(RECORDS) == {
        "user": ("category", "user"),
        "item": ("category", "item"),
        "age": ("number", "user"),
        "sex": ("category", "user"),
        "genres": ("set", "item"),
        "year": ("number", "item"),
        "hour": ("number", "item"),
    }


def test_a_field_that_changes_with_both_belongs_to_neither() -> None:
    changed = [{**record, "hour": hour} for record, hour in zip(RECORDS, (1, 2, 5), strict=True)]
    assert infer_roles(changed)["hour"] == ("number", "")


def test_identifiers_are_categories_even_when_they_are_numbers() -> None:
    numbered = [{"user_id": 7, "item_id": 1, "stars": 2}, {"user_id": 8, "item_id": 1, "stars": 3}]
    roles = infer_roles(numbered)
    assert [roles[name][0] for name in ("user_id", "item_id", "stars")] == ["category", "category", "number"]


def test_a_mixed_field_and_no_field_are_refused() -> None:
    with pytest.raises(DataError, match="the field 'age' mixes category, number"):
        infer_roles([{"user": "a", "age": 3}, {"user": "a", "age": "old"}])
    with pytest.raises(DataError, match="have no field with a value"):
        infer_roles([{"user": None}])


def test_the_net_fits_the_encoder() -> None:
    prepared = prepare_record(RECORDS, labels=2, sizes={"width": 4, "hidden": (8,)}, dropout=0.1)
    arrays = prepared.encoder.encode(RECORDS)
    import torch

    tensors = [torch.from_numpy(arrays[declared.name]) for declared in prepared.encoder.inputs]
    assert prepared.net.eval()(*tensors).shape == (3, 2)
