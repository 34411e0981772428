"""Raw examples with their answers, in named splits: what a client would send, and what is right.

An example is a `str` (text), `bytes` of an encoded picture or a uint8 array (image), or a mapping of
field names to values (recommend). Duplicates are folded before anything is split, and the split is
recorded by digest, so a row that a model was trained on can never be one that judges it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.lineage import SplitRecord, canonical_json, digest_of
from toolkit.spec import Array

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Examples, their labels (int64 indices into `Data.labels`) and columns to slice results by."""

    examples: Sequence[Any]
    labels: Array
    slices: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, rows: Sequence[int] | Array) -> Split:
        """The split of these rows only, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return Split(
            [self.examples[row] for row in index.tolist()],
            self.labels[index],
            {name: column[index] for name, column in self.slices.items()},
        )


@dataclass(frozen=True)
class BadRow:
    """A row that could not be used: where it stands and what was expected there."""

    file: str
    line: int
    expected: str


@dataclass(frozen=True)
class Data:
    """Named splits of one data set.

    `source` is the digest of the data as it came and `seed` the one that split it; `counts` says how
    many rows were read, folded as duplicates, dropped for two labels, bad; `bad_rows` names the bad.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    source: str
    seed: int
    counts: Mapping[str, int] = field(default_factory=dict)
    bad_rows: tuple[BadRow, ...] = ()

    def split(self, name: str) -> Split:
        """One split; raises `DataError` when this data has none of that name."""
        if name not in self.splits:
            raise DataError(f"{self.name} has no {name} split; it has: {', '.join(self.splits)}")
        return self.splits[name]

    def record(self) -> SplitRecord:
        """What a trained model remembers of this split."""
        digests = {name: digest_of_split(split) for name, split in self.splits.items()}
        return SplitRecord(self.name, self.source, self.seed, digests)


def digest_of_split(split: Split) -> str:
    """sha256 of a split's rows and labels, in their order: how a model knows its own split again."""
    return digest_of([[str(key) for key in hash_rows(split.examples)], split.labels.tolist()])


def fold_text(text: str) -> str:
    """The form in which two texts are the same row: case and runs of white space do not count."""
    return " ".join(text.casefold().split())


def hash_row(example: Any) -> int:
    """A 64-bit hash of an example's content; equal for texts that `fold_text` makes equal."""
    if isinstance(example, str):
        content = b"t" + fold_text(example).encode("utf-8", "surrogatepass")
    elif isinstance(example, bytes):
        content = b"b" + example
    elif isinstance(example, np.ndarray):
        content = b"a" + str(example.shape).encode() + example.tobytes()
    else:
        content = b"r" + canonical_json(dict(example))
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def hash_rows(examples: Sequence[Any]) -> Array:
    """uint64 of shape (examples,): `hash_row` of each."""
    return np.fromiter((hash_row(example) for example in examples), dtype=np.uint64, count=len(examples))
