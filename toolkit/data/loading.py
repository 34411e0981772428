"""`--data` to `Data`: a known name, a path, or `hub:NAME`, read and split.

`load_data` splits by a seed, to train. `data_for` is for a model that exists: its own data is split
again as its record says, whatever the seed of today, and any other data is used whole to judge it,
without the rows it was trained on. Sources are told apart by digest, never by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from toolkit.data import Data, Split
from toolkit.data.files import ALLOWED, read_path
from toolkit.data.hub import PREFIX, read_hub
from toolkit.data.named import KNOWN
from toolkit.data.rows import Rows
from toolkit.data.splitting import judge_rows, split_rows
from toolkit.errors import DataError
from toolkit.lineage import SplitRecord
from toolkit.spec import TASKS, Array


def load_data(
    reference: str,
    *,
    task: str | None = None,
    seed: int = 0,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
) -> Data:
    """Read and split what `reference` names: train, validation and test.

    A known name comes before a file of that name (`./trec` is the file). Raises `DataError` when the
    reference, a column or the rows cannot be used, `MissingExtra` when a reader is not installed.
    """
    return split_rows(_read(reference, task=task, text=text, label=label, slices=slices), seed=seed)


def data_for(
    reference: str,
    *,
    record: SplitRecord | None,
    training_rows: Array | None,
    task: str,
    seed: int = 0,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
    labels: Sequence[str] | None = None,
) -> Data:
    """Data for a model that was split as `record` and trained on `training_rows` (uint64 hashes).

    The model's own source: the splits of the record, digests verified. Another source: one split
    "test" without rows of `training_rows`, counted as `seen_in_training`. No record (a model from
    elsewhere, which knows no split): split by `seed`, so that it can be calibrated and judged.
    `labels` are the model's: label numbers follow them. Raises `DataError` when digests differ or a
    label is none of the model's.
    """
    rows = _read(reference, task=task, text=text, label=label, slices=slices)
    if record is None:
        data = split_rows(rows, seed=seed)
    elif rows.source == record.source:
        data = split_rows(rows, seed=record.seed)
        found = data.record().digests
        if differing := sorted(
            name for name in {*found, *record.digests} if found.get(name) != record.digests.get(name)
        ):
            raise DataError(
                f"{reference} is the model's own data, but its {', '.join(differing)} split comes out differently than "
                "when it was trained; use the toolkit version that trained it, or train again"
            )
    else:
        data = judge_rows(rows, seed=seed, training_rows=training_rows)
    return data if labels is None else _relabelled(data, tuple(labels))


def _read(reference: str, *, task: str | None, text: str | None, label: str | None, slices: Sequence[str]) -> Rows:
    if task is not None and task not in TASKS:
        raise DataError(f"unknown task {task!r}; allowed: {', '.join(TASKS)}")
    if reference.startswith(PREFIX):
        return read_hub(reference, task=task, text=text, label=label, slices=slices)
    if reference in KNOWN:
        if text or label:
            raise DataError(f"{reference} is a known set without columns to choose; leave out --text and --label")
        return _known(reference, task, slices)
    try:
        if Path(reference).exists():
            return read_path(Path(reference), task=task, text=text, label=label, slices=slices)
    except OSError as error:  # no permission, a name too long, a disk that fails
        raise DataError(f"{reference} cannot be read: {error.strerror}") from None
    raise DataError(
        f"{reference!r} is no known data set and no path that exists; known: {', '.join(KNOWN)}; "
        f"a path: {ALLOWED}; from the hub: hub:NAME"
    )


def _known(name: str, task: str | None, slices: Sequence[str]) -> Rows:
    known = KNOWN[name]
    if task not in (None, known.task):
        raise DataError(f"{name} is a set for the task {known.task}, not {task}")
    rows = known.loader()
    if missing := [column for column in slices if column not in rows.slices]:
        raise DataError(f"{name} has no slice {missing[0]!r}; it has: {', '.join(rows.slices) or 'none'}")
    return replace(rows, slices={column: rows.slices[column] for column in slices or rows.slices})


def _relabelled(data: Data, labels: tuple[str, ...]) -> Data:
    """`data` with label numbers of the model; a class the model knows may be absent here."""
    if unknown := [label for label in data.labels if label not in labels]:
        raise DataError(
            f"{data.name} has the label {unknown[0]!r}, which is none of this model's; allowed: {', '.join(labels)}"
        )
    number = np.asarray([labels.index(label) for label in data.labels], dtype=np.int64)
    splits = {name: Split(split.examples, number[split.labels], split.slices) for name, split in data.splits.items()}
    return replace(data, labels=labels, splits=splits)
