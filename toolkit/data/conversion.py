"""From a table to rows: examples of the task, labels as words, bad rows named.

Text stays exactly as it is. A label is the value as a word, outer spaces removed (true, 1, 2.5; 1.0 is
1). Records (recommend) take every other column as a field: a column whose name is, or ends in, id,
user or item holds words; one whose values are all numbers holds numbers; lists stay lists of words, and
in a csv, where a value cannot be a list, a column with a "|" in it holds lists (`Action|Comedy`). An
empty value is a missing field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.data import BadRow
from toolkit.data.columns import Columns
from toolkit.data.rows import Rows, split_name
from toolkit.data.tables import Row, Table
from toolkit.errors import InputError
from toolkit.lineage import digest_of

_WORDS = re.compile(r"(^|[\W_])(id|user|item)$|ID$|Id$")


class _UnusableError(Exception):
    """What was expected where a row cannot be used."""


def rows_of_table(
    table: Table, columns: Columns, *, name: str, task: str, label_names: Mapping[int, str] | None = None
) -> Rows:
    """Examples and labels of `table`; `label_names` turns whole numbers into words (any other is bad)."""
    example: Any
    examples: list[Any] = []
    labels: list[str] = []
    splits: list[str] = []
    slices: dict[str, list[str]] = {column: [] for column in columns.slices}
    bad = list(table.bad)
    typed = _typed_fields(table, columns.fields)
    for position, row in enumerate(table.rows):
        try:
            label = _label(row.values.get(columns.label), columns.label, label_names)
            split = _split(row, columns.split)
            sliced = [_slice(row.values.get(column), column) for column in columns.slices]
            if task == "recommend":
                example = _record(typed, position)
            else:
                example = _EXAMPLES[task](row.values.get(columns.example), columns.example)
        except _UnusableError as expected:
            bad.append(BadRow(row.file, row.line, str(expected)))
            continue
        examples.append(example)
        labels.append(label)
        splits.append(split)
        for values, value in zip(slices.values(), sliced, strict=True):
            values.append(value)
    bad.sort(key=lambda row: (row.file, row.line))
    # slices only tell how results are looked at: another choice of them is still the same source
    chosen = [task, columns.example, columns.label, columns.split, list(columns.fields)]
    source = digest_of({"content": table.content, "columns": chosen})
    return Rows(name, task, examples, labels, source, splits if columns.split else None, slices, tuple(bad))


def _label(value: Any, column: str, names: Mapping[int, str] | None) -> str:
    if names is not None and isinstance(value, int):
        if value not in names:
            raise _UnusableError(f"a label 0 to {len(names) - 1} in column {column!r}")
        return names[value]
    word = "" if isinstance(value, list | dict | bytes) else _word(value)
    if not word:
        raise _UnusableError(f"a label in column {column!r}")
    return _unicode(word, column)


def _split(row: Row, column: str | None) -> str:
    if column is None:
        return ""
    found = split_name(row.values.get(column))
    if found is None:
        raise _UnusableError(f"train, validation or test in column {column!r}")
    return found


def _slice(value: Any, column: str) -> str:
    return _unicode(_word(value), column)


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _UnusableError(f"a text in column {column!r}")
    return _unicode(value, column)


def _picture(value: Any, column: str) -> bytes:
    """Bytes of a picture, alone or as the `{"bytes": ...}` that hubs keep them in."""
    from toolkit.encoders.image import decode_picture

    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise _UnusableError(f"the bytes of a picture in column {column!r}")
    try:
        decode_picture(content)
    except InputError as error:
        raise _UnusableError(f"a picture in column {column!r} ({error})") from None
    return content


_EXAMPLES = {"text": _text, "image": _picture}


def _unicode(word: str, column: str) -> str:
    try:
        word.encode()
    except UnicodeEncodeError:
        raise _UnusableError(f"UTF-8 in column {column!r}") from None
    return word


def _word(value: Any) -> str:
    """A value as a word; empty where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _record(fields: Mapping[str, Sequence[Any]], position: int) -> dict[str, Any]:
    record = {name: values[position] for name, values in fields.items() if values[position] is not None}
    if not record:
        raise _UnusableError("a value in at least one field")
    for name, value in record.items():
        for word in value if isinstance(value, list) else (value,):
            if isinstance(word, str):
                _unicode(word, name)
    return record


def _typed_fields(table: Table, names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: _typed_field([row.values.get(name) for row in table.rows], name, table.typed) for name in names}


def _typed_field(values: Sequence[Any], name: str, typed: bool) -> list[Any]:
    lists = any(isinstance(value, list) for value in values)
    if not typed and any("|" in value for value in values):
        values, lists = [value.split("|") if value else None for value in values], True
    if lists:
        return [_words(value) for value in values]
    if not _WORDS.search(name):
        numbers = [_number(value) for value in values]
        if all(number is not None or not _word(value) for number, value in zip(numbers, values, strict=True)):
            return numbers
    return [_word(value) or None for value in values]


def _words(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [word for member in (value if isinstance(value, list) else [value]) if (word := _word(member))]


def _number(value: Any) -> float | None:
    """A finite number, always as float: 24 and 24.0 are the same row."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
