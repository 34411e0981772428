"""From rows to splits: duplicates are folded first, then the rest is divided by a seed.

Rows are equal when `hash_row` says so. A text (picture, record) with two labels is dropped with all
its copies; of equal rows in different given splits the one that judges stays (test, validation,
train). Then 70/10/20, stratified: a class of three rows or more is in every split, one of two rows
in train and test, a single row in train. Where the source gives splits they are taken at their word;
without a validation split, an eighth of train becomes it.

The order is that of a keyed BLAKE2b hash of each row, so a split depends on the rows and the seed
alone: not on the order of the file, on Python's hash seed, on numpy or on the platform.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.data import SPLITS, Data, Split, hash_rows
from toolkit.data.rows import Rows
from toolkit.errors import DataError
from toolkit.spec import Array


@dataclass(frozen=True)
class _Folded:
    """Row numbers that stay, mixed by the seed, and how many went for which reason."""

    kept: list[int]
    hashes: Array
    counts: Mapping[str, int]


def split_rows(rows: Rows, *, seed: int) -> Data:
    """Train, validation and test of `rows`; raises `DataError` when there is too little to split."""
    folded = _fold(rows, seed)
    labels = _sorted_labels(rows.labels[row] for row in folded.kept)
    if len(labels) < 2:
        raise DataError(f"{rows.name} has one class only ({labels[0]!r}); a classifier needs two or more")
    places = _given(rows, folded.kept) if rows.splits is not None else _divide(rows, folded.kept)
    if rows.splits is None and (empty := [name for name in SPLITS if not places[name]]):
        raise DataError(
            f"{rows.name} has {len(folded.kept)} usable row(s), too few for a {empty[0]} split; "
            "at least one class needs three rows, or give the split in a column named split"
        )
    # the lowest of each class were taken for test, so within a split another order mixes the classes
    places = {name: _mixed(members, folded.hashes, f"order {seed}") for name, members in places.items()}
    return _data(rows, labels, places, seed, folded.counts)


def judge_rows(rows: Rows, *, seed: int, training_rows: Array | None) -> Data:
    """All of `rows` as one split "test", without those whose hash is in `training_rows` (uint64)."""
    folded = _fold(rows, seed)
    kept, counts = folded.kept, dict(folded.counts)
    if training_rows is not None:
        seen = np.isin(folded.hashes, np.asarray(training_rows, dtype=np.uint64))
        kept = [row for row in kept if not seen[row]]
        counts["seen_in_training"] = len(folded.kept) - len(kept)
        counts["rows_used"] = len(kept)
    if not kept:
        raise DataError(f"every row of {rows.name} was in the model's training data; give rows it has not seen")
    return _data(rows, _sorted_labels(rows.labels[row] for row in kept), {"test": kept}, seed, counts)


def _fold(rows: Rows, seed: int) -> _Folded:
    if not rows.examples:
        if not rows.bad:
            raise DataError(f"{rows.name} has no row; expected examples with their labels")
        first = f"{rows.bad[0].file} line {rows.bad[0].line}: expected {rows.bad[0].expected}"
        raise DataError(f"{rows.name} has no usable row, all {len(rows.bad)} are bad; first {first}")
    hashes = hash_rows(rows.examples)
    groups: dict[int, list[int]] = defaultdict(list)
    for row, key in enumerate(hashes.tolist()):
        groups[key].append(row)
    kept, duplicates, two_labels = [], 0, 0
    for group in groups.values():
        if len(group) > 1 and len({rows.labels[row] for row in group}) > 1:
            two_labels += len(group)
            continue
        given = rows.splits
        kept.append(group[0] if given is None else max(group, key=lambda row: SPLITS.index(given[row])))
        duplicates += len(group) - 1
    if not kept:
        raise DataError(f"{rows.name} has no usable row: each of its {two_labels} rows has a copy with another label")
    counts = {
        "rows_read": len(rows.examples) + len(rows.bad),
        "duplicates_folded": duplicates,
        "two_labels_dropped": two_labels,
        "bad_rows": len(rows.bad),
        "rows_used": len(kept),
    }
    return _Folded(_mixed(kept, hashes, str(seed)), hashes, counts)


def _mixed(kept: Sequence[int], hashes: Array, salt: str) -> list[int]:
    """Row numbers in the order of a keyed hash of what the rows hold; `salt` is at most 64 bytes."""
    key = salt.encode()

    def place(row: int) -> bytes:
        return hashlib.blake2b(int(hashes[row]).to_bytes(8, "big"), key=key, digest_size=16).digest()

    return sorted(kept, key=place)


def _by_class(rows: Rows, kept: Sequence[int]) -> dict[str, list[int]]:
    classes: dict[str, list[int]] = defaultdict(list)
    for row in kept:
        classes[rows.labels[row]].append(row)
    return classes


def _divide(rows: Rows, kept: Sequence[int]) -> dict[str, list[int]]:
    chosen: dict[int, str] = {}
    for members in _by_class(rows, kept).values():
        total = len(members)
        test = max(1, (2 * total + 5) // 10) if total > 1 else 0
        validation = max(1, (total + 5) // 10) if total > 2 else 0
        chosen |= dict.fromkeys(members[:test], "test")
        chosen |= dict.fromkeys(members[test : test + validation], "validation")
    return _places(kept, [chosen.get(row, "train") for row in kept])


def _given(rows: Rows, kept: Sequence[int]) -> dict[str, list[int]]:
    assert rows.splits is not None
    places = _places(kept, [rows.splits[row] for row in kept])
    if not places["train"]:
        raise DataError(f"{rows.name} has no row in its train split; its splits: {_sizes(places)}")
    if not places["validation"]:
        spared: set[int] = set()
        for members in _by_class(rows, places["train"]).values():
            spared.update(members[: max(1, (len(members) + 4) // 8) if len(members) > 1 else 0])
        if not spared:
            raise DataError(f"{rows.name} has no validation split and too few train rows to take one from")
        places["validation"] = [row for row in places["train"] if row in spared]
        places["train"] = [row for row in places["train"] if row not in spared]
    trained = {rows.labels[row] for row in places["train"]}
    if missing := sorted({rows.labels[row] for row in kept} - trained):
        raise DataError(f"{rows.name} has no train row of class {missing[0]!r}; every class needs one")
    return {name: members for name, members in places.items() if members}


def _places(kept: Sequence[int], names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {name: [] for name in SPLITS}
    for row, name in zip(kept, names, strict=True):
        places[name].append(row)
    return places


def _sizes(places: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} {len(members)}" for name, members in places.items())


def _sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    found = set(labels)
    # 2 before 10 where all labels are whole numbers, else by code point: the same everywhere
    numbered = all(label.isascii() and label.isdigit() for label in found)
    return tuple(sorted(found, key=(lambda label: (int(label), label)) if numbered else None))


def _data(
    rows: Rows, labels: tuple[str, ...], places: Mapping[str, Sequence[int]], seed: int, counts: Mapping[str, int]
) -> Data:
    index = {label: position for position, label in enumerate(labels)}
    splits = {
        name: Split(
            [rows.examples[row] for row in members],
            np.asarray([index[rows.labels[row]] for row in members], dtype=np.int64),
            {column: np.asarray([values[row] for row in members], dtype=str) for column, values in rows.slices.items()},
        )
        for name, members in places.items()
    }
    counts = {**counts, **{f"{name}_rows": len(split) for name, split in splits.items()}}
    small = [label for label, size in Counter(rows.labels[r] for m in places.values() for r in m).items() if size < 3]
    if small:
        counts["classes_below_three_rows"] = len(small)
    return Data(rows.name, rows.task, labels, splits, rows.source, seed, counts, rows.bad)
