"""`hub:NAME` or `hub:NAME:CONFIG`: a data set of the Hugging Face hub, through its `datasets` library.

Splits are the hub's where there is more than one that is named train, validation or test (or dev, val,
valid); a split of another name is reported as a bad row and not used. Class labels become their names; a row whose
label is -1 (the hidden test labels of GLUE) is bad. Pictures stay the bytes they are.

Limit: the set is held in memory, and its source digest is that of its rows, not of the hub's revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.data import BadRow, hash_rows
from toolkit.data.columns import choose_columns
from toolkit.data.conversion import rows_of_table
from toolkit.data.rows import Rows, split_name
from toolkit.data.tables import Row, Table, table_of_columns
from toolkit.errors import DataError, require
from toolkit.lineage import digest_of

PREFIX = "hub:"


@dataclass(frozen=True)
class HubSplit:
    """One split as plain values: columns of equal length, and the names of the classes of a column."""

    columns: Mapping[str, list[Any]]
    class_names: Mapping[str, Sequence[str]]


def read_hub(
    reference: str,
    *,
    task: str | None = None,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
) -> Rows:
    """The rows of a set on the hub; raises `MissingExtra` without `datasets`, `DataError` when it cannot be had."""
    name, _, config = reference.removeprefix(PREFIX).partition(":")
    if not name:
        raise DataError(f"{reference!r} names no data set; expected hub:NAME or hub:NAME:CONFIG")
    datasets = require("datasets", extra="hub")
    try:
        loaded = datasets.load_dataset(name, config or None)
        splits = {str(split): _plain(datasets, dataset) for split, dataset in loaded.items()}
    except Exception as error:  # the library raises dozens of kinds, from the network to the set's own scripts
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{reference} cannot be loaded: {said}") from None
    return rows_of_splits(reference, splits, task=task, text=text, label=label, slices=slices)


def rows_of_splits(
    name: str,
    splits: Mapping[str, HubSplit],
    *,
    task: str | None = None,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
) -> Rows:
    """The rows of plain splits by their hub names; the part of `read_hub` that knows no library."""
    used = {split: part for split, part in splits.items() if split_name(split) and part.columns}
    if not used:
        raise DataError(f"{name} has no split named train, validation or test; it has: {', '.join(splits) or 'none'}")
    first = next(iter(used.values()))
    kind = task or ("image" if _holds_pictures(first) else "text")
    rows: list[Row] = []
    for split, part in used.items():
        table = table_of_columns(f"{name}/{split}", part.columns, "")
        rows += [replace(row, values={**row.values, "split": split}) for row in table.rows]
    joined = (*(column for column in first.columns if column != "split"), *(["split"] if len(used) > 1 else []))
    columns = choose_columns(name, joined, task=kind, text=text, label=label, slices=slices)
    names = first.class_names.get(columns.label)
    bad = [
        BadRow(f"{name}/{split}", 0, f"a split named train, validation or test; its {_length(part)} rows are not used")
        for split, part in splits.items()
        if split not in used
    ]
    found = rows_of_table(
        Table(joined, rows, bad, True, ""),
        columns,
        name=name,
        task=kind,
        label_names=None if names is None else dict(enumerate(names)),
    )
    keys = [str(key) for key in hash_rows(found.examples).tolist()]
    return replace(found, source=digest_of([found.source, keys, list(found.labels), list(found.splits or [])]))


def _plain(datasets: Any, dataset: Any) -> HubSplit:
    names = {}
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            names[column] = tuple(feature.names)
        elif isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return HubSplit({column: [_content(v) for v in values] for column, values in dataset.to_dict().items()}, names)


def _content(value: Any) -> Any:
    """The bytes of a picture that the library left on the disk of this machine; any other value as it is."""
    if isinstance(value, dict) and set(value) == {"bytes", "path"}:
        return value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
    return value


def _holds_pictures(split: HubSplit) -> bool:
    return any(values and isinstance(values[0], bytes) for values in split.columns.values())


def _length(split: HubSplit) -> int:
    return len(next(iter(split.columns.values()), []))
