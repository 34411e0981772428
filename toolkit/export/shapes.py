"""Real rows cut and stretched to the shapes that a graph must be tried at.

Exporters bake sizes in without a word: a graph traced at batch 1 or length 12 may answer for nothing else. So
it is run at batch 1, 2, 7 and 32, and where inputs have a length, at 1, the examples' median and the largest.
Rows of one batch keep lengths of their own, so that padding is tried too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.encoders import Encoder
from toolkit.errors import InputError
from toolkit.spec import Array, Spec

BATCHES = (1, 2, 7, 32)
TRACED_BATCH, TRACED_LENGTH = 3, 8  # nothing is 1, and batch and length differ: no size is mistaken for another


def encode_some(encoder: Encoder, examples: Sequence[Any]) -> dict[str, Array]:
    """The first 32 examples, encoded; raises `InputError` when there is none."""
    if not len(examples):
        raise InputError("an export needs a few real examples to be traced and compared with; got none")
    return encoder.encode(examples[: max(BATCHES)])


def traced_arrays(spec: Spec, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The batch that a graph is traced with: no size is 1."""
    length = min(TRACED_LENGTH, spec.limits["length"][1]) if "length" in spec.limits else None
    return fit_arrays(arrays, batch=TRACED_BATCH, length=length)


def shape_batches(spec: Spec, arrays: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Batches at every shape to try, smallest first; `arrays` are a few encoded examples."""
    lengths: Sequence[int | None] = [None]
    if "length" in spec.limits:
        low, high = spec.limits["length"]
        median = int(np.median(arrays["attention_mask"].sum(axis=1)))
        lengths = sorted({max(low, 1), min(max(median, low, 1), high), high})
    for length in lengths:
        for batch in BATCHES:
            yield fit_arrays(arrays, batch=batch, length=length)


def fit_arrays(arrays: Mapping[str, Array], *, batch: int, length: int | None) -> dict[str, Array]:
    """`batch` rows of `arrays`, repeated as needed; with a length, the first row is full and others as they were.

    A row is stretched by repeating its own tokens; what is left of a shorter one is padding.
    """
    rows = np.resize(np.arange(len(next(iter(arrays.values())))), batch)
    chosen = {name: array[rows] for name, array in arrays.items()}
    if length is None:
        return chosen
    hidden = arrays["input_ids"][arrays["attention_mask"] == 0]
    padding = int(hidden[0]) if len(hidden) else 0
    ids = np.full((batch, length), padding, dtype=chosen["input_ids"].dtype)
    mask = np.zeros((batch, length), dtype=chosen["attention_mask"].dtype)
    for row, size in enumerate(chosen["attention_mask"].sum(axis=1).tolist()):
        kept = length if row == 0 else min(size, length)
        ids[row, :kept] = np.resize(chosen["input_ids"][row, :size], kept)
        mask[row, :kept] = 1
    return {"input_ids": ids, "attention_mask": mask}
