"""Rows without labels for a teacher to answer: noised copies of the training rows, and unlabeled rows of the user's.

Real text of the same kind is worth more than noise, where there is some. It is held against the rows that
judge: one that is a validation or test row (by hash, so letter case and white space do not hide it) is dropped,
and so is one that is a training row or comes twice. How many were dropped is part of the student's lineage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.compress.transfer import noised_copies
from toolkit.compress.transfer_pictures import noised_pictures
from toolkit.compress.transfer_records import noised_records
from toolkit.data import Data, Split, hash_rows
from toolkit.errors import InputError

JUDGES = ("validation", "test")


@dataclass(frozen=True)
class TransferSet:
    """Rows to be answered by a teacher: `parts` are each copy of the training rows, then the unlabeled rows kept.

    `held_out` unlabeled rows were validation or test rows, `repeated` were training rows or came before;
    both were dropped.
    """

    parts: tuple[Sequence[Any], ...]
    unlabeled: Sequence[Any] = ()
    held_out: int = 0
    repeated: int = 0


def make_transfer_set(
    data: Data, *, copies: int = 0, unlabeled: Sequence[Any] = (), seed: int = 0, mask: str | None = None
) -> TransferSet:
    """The transfer set of `data`'s training rows; `mask` stands for a masked word of a text (None: it is dropped).

    Raises `RecipeError` for copies below 0, `InputError` for rows that are no examples of the data's task.
    """
    train = data.split("train")
    made = _copies(data.task, train, copies, seed, mask)
    parts: list[Sequence[Any]] = [made[start : start + len(train)] for start in range(0, len(made), len(train))]
    kept, held_out, repeated = _keep_unseen(data, unlabeled)
    if kept:
        parts.append(kept)
    return TransferSet(tuple(parts), kept, held_out, repeated)


def _copies(task: str, train: Split, copies: int, seed: int, mask: str | None) -> Sequence[Any]:
    if task == "text":
        return noised_copies(train.examples, copies=copies, seed=seed, mask=mask)
    if task == "image":
        return noised_pictures(train.examples, copies=copies, seed=seed)
    return noised_records(train.examples, copies=copies, seed=seed)


def _keep_unseen(data: Data, unlabeled: Sequence[Any]) -> tuple[list[Any], int, int]:
    """The unlabeled rows that are of no split and come first, how many judge, how many were there before."""
    if not len(unlabeled):
        return [], 0, 0
    if data.task == "text":
        for position, example in enumerate(unlabeled):
            if not isinstance(example, str) or not example.strip():
                raise InputError(f"unlabeled row {position} is {example!r:.40}; allowed: texts with something in them")
    judged = {int(h) for name in JUDGES if name in data.splits for h in hash_rows(data.splits[name].examples)}
    seen = {int(h) for h in hash_rows(data.split("train").examples)} - judged
    kept, held_out, repeated = [], 0, 0
    for example, row in zip(unlabeled, hash_rows(unlabeled).tolist(), strict=True):
        if row in judged:
            held_out += 1
        elif row in seen:
            repeated += 1
        else:
            seen.add(row)
            kept.append(example)
    return kept, held_out, repeated
