"""Rows as they came from a file, an archive or a hub, before anything is folded or split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.data import BadRow

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Rows:
    """Examples and their labels as words, in the order of the source.

    `source` is the digest of the bytes that were read and of the columns chosen from them. `splits`
    gives each row its split where the source says so; `bad` names the rows that could not be used.
    """

    name: str
    task: str
    examples: Sequence[Any]
    labels: Sequence[str]
    source: str
    splits: Sequence[str] | None = None
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bad: tuple[BadRow, ...] = ()


def split_name(value: object) -> str | None:
    """The split that a word in a split column or a file name means; None when it means none."""
    return SPLIT_NAMES.get(value.strip().casefold()) if isinstance(value, str) else None
