"""Which rows stand in which group: by the words of a column, by few numbers, by quartiles of many.

A column of numbers with more than 12 values is cut at its quartiles. `@length` is a column that every
text has: its length in characters, which is what shortened inputs and pruned layers tend to hurt.

Limit: a value is one word or one number; a field that holds a list is no column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.data import Split
from toolkit.errors import DataError
from toolkit.spec import Array

LENGTH = "@length"
MAX_VALUES = 12
MAX_GROUPS = 100
NO_VALUE = "(none)"


def slice_columns(split: Split, names: Sequence[str]) -> dict[str, Array]:
    """The columns `names` of `split`: its slices, fields of its records, or `@length`; each (rows,).

    Raises `DataError` naming the columns that there are.
    """
    return {name: _column(split, name) for name in names}


def columns_to_read(names: Sequence[str], task: str) -> tuple[str, ...]:
    """The columns that a reader of data must be asked for: a record has its fields already, a text its length."""
    return () if task == "recommend" else tuple(name for name in names if name != LENGTH)


def group_rows(column: str, values: Array) -> dict[str, Array]:
    """Rows of each group, int (rows of the group,): words by name, numbers by value, many numbers by quartile."""
    words = np.asarray([str(value).strip() for value in values.tolist()])
    numbers = [_number(word) for word in words.tolist()]
    known = np.asarray([number is not None or not word for number, word in zip(numbers, words, strict=True)])
    size = np.asarray([math.nan if number is None else number for number in numbers])
    numeric = bool(known.all()) and not np.isnan(size).all()
    if numeric and len(np.unique(size[~np.isnan(size)])) > MAX_VALUES:
        return _quartiles(size)
    names = np.unique(words).tolist()
    if len(names) > MAX_GROUPS:
        raise DataError(
            f"column {column!r} has {len(names):,} groups; at most {MAX_GROUPS} can be judged, give another"
        )
    if numeric:
        names.sort(key=lambda name: float(name or "inf"))
    return {name or NO_VALUE: np.flatnonzero(words == name) for name in names}


def _column(split: Split, name: str) -> Array:
    if name == LENGTH:
        if not all(isinstance(example, str) for example in split.examples):
            raise DataError(f"--slice {LENGTH} is the length of a text; these rows are no texts")
        return np.asarray([len(example) for example in split.examples])
    if name in split.slices:
        return split.slices[name]
    records = [example if isinstance(example, dict) else {} for example in split.examples]
    fields = {
        field: None for record in records for field, value in record.items() if not isinstance(value, list | dict)
    }
    if name in fields:
        return np.asarray([str(record.get(name, "")) for record in records])
    texts = [LENGTH] if any(isinstance(example, str) for example in split.examples[:1]) else []
    there = dict.fromkeys([*split.slices, *fields, *texts])
    raise DataError(f"--slice {name!r} is no column of these rows; there are: {', '.join(there) or 'none'}")


def _quartiles(size: Array) -> dict[str, Array]:
    """Groups between quartiles, named by the least and the largest value inside; rows without a value last."""
    present = ~np.isnan(size)
    cuts = np.unique(np.quantile(size[present], [0.25, 0.5, 0.75], method="lower"))
    place = np.searchsorted(cuts, size, side="left")
    groups = {}
    for number in range(len(cuts) + 1):
        rows = np.flatnonzero(present & (place == number))
        if len(rows):
            groups[f"{size[rows].min():.10g} to {size[rows].max():.10g}"] = rows
    if not present.all():
        groups[NO_VALUE] = np.flatnonzero(~present)
    return groups


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
