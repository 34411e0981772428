"""Records to indices, numbers and multi-hot rows, by vocabularies learned from training rows.

A field is a category (one of a vocabulary; 0 is "never seen"), a number (standardized) or a set (a
multi-hot row over its vocabulary). A missing field of a known record is "never seen", the mean, or
the empty set: a recommender meets new users every day. An unknown field is an error: it is a typo.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.spec import Array, Input

# its square still fits float32: beyond, a net answers with infinities, and the fault is the number's
MAX_DEVIATIONS = 1e18


@dataclass(frozen=True)
class Field:
    """One field of a record: `role` is category, number or set; `side` says what it describes."""

    name: str
    role: str
    side: str = ""
    values: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def input(self) -> Input:
        """The array this field becomes."""
        if self.role == "category":
            return Input(self.name, "int64", ("batch",))
        if self.role == "number":
            return Input(self.name, "float32", ("batch",))
        return Input(self.name, "float32", ("batch", len(self.values)))


class RecordEncoder:
    """One array for each field; see `Field.input` for its dtype and shape."""

    kind = "record"

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self._index = {f.name: {value: i for i, value in enumerate(f.values)} for f in self.fields}

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(field.input for field in self.fields)

    @property
    def limits(self) -> dict[str, tuple[int, int]]:
        return {}

    def size(self, example: Any) -> int:
        return 1

    def encode(self, examples: Sequence[Any]) -> dict[str, Array]:
        for position, example in enumerate(examples):
            if not isinstance(example, Mapping):
                raise InputError(f"input {position} is {type(example).__name__}; this model takes records")
            if unknown := set(example) - set(self._index):
                raise InputError(
                    f"input {position} has {len(unknown)} unknown field(s); allowed: {', '.join(self._index)}"
                )
        return {field.name: self._column(field, examples) for field in self.fields}

    def _column(self, field: Field, examples: Sequence[Any]) -> Array:
        index = self._index[field.name]
        if field.role == "category":
            for position, example in enumerate(examples):
                if isinstance(example.get(field.name), list | dict):
                    raise InputError(f"input {position}: {field.name} must be one value")
            found = [index.get(str(e[field.name]), -1) + 1 if field.name in e else 0 for e in examples]
            return np.asarray(found, dtype=np.int64)
        if field.role == "number":
            numbers = [_number(e.get(field.name), field, i) for i, e in enumerate(examples)]
            with np.errstate(over="ignore"):
                column = ((np.asarray(numbers) - field.mean) / field.deviation).astype(np.float32)
            if not (fits := np.abs(column) <= MAX_DEVIATIONS).all():
                raise InputError(f"input {int(fits.argmin())}: {field.name} is too large a number")
            return column
        hot = np.zeros((len(examples), len(field.values)), dtype=np.float32)
        for position, example in enumerate(examples):
            members = example.get(field.name) or ()
            if isinstance(members, str) or not isinstance(members, Sequence):
                raise InputError(f"input {position}: {field.name} must be a list of values")
            for member in members:
                if isinstance(member, list | dict):
                    raise InputError(f"input {position}: each of {field.name} must be one value")
                if (place := index.get(str(member))) is not None:
                    hot[position, place] = 1.0
        return hot

    def files(self) -> dict[str, bytes]:
        rows = [
            {"name": f.name, "role": f.role, "side": f.side, "values": list(f.values),
             "mean": f.mean, "deviation": f.deviation}
            for f in self.fields
        ]  # fmt: skip
        return {"fields.json": json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> RecordEncoder:
        rows = json.loads(files["fields.json"])
        return cls([Field(**{**row, "values": tuple(row["values"])}) for row in rows])


def learn_fields(examples: Sequence[Mapping[str, Any]], roles: Mapping[str, tuple[str, str]]) -> RecordEncoder:
    """Vocabularies and scales of `roles` (name -> role, side) over training `examples`."""
    fields = []
    for name, (role, side) in roles.items():
        present = [example[name] for example in examples if example.get(name) is not None]
        if role == "number":
            numbers = np.asarray(present, dtype=np.float64)
            deviation = float(numbers.std()) or 1.0
            fields.append(Field(name, role, side, mean=float(numbers.mean()), deviation=deviation))
        else:
            values = {str(v) for p in present for v in (p if role == "set" else (p,))}
            fields.append(Field(name, role, side, values=tuple(sorted(values))))
    return RecordEncoder(fields)


def _number(value: Any, field: Field, position: int) -> float:
    if value is None:
        return field.mean
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"input {position}: {field.name} must be a finite number")
    return float(value)
