"""Rows encoded once and dealt into batches of like length, in an order that the seed and the epoch fix.

A batch costs what its longest row costs: sorted within pools of `bucket` batches, TREC is padded to 3 %
more tokens than it has, plainly shuffled to 93 % more. The pools are shuffled rows and the batches are shuffled again,
so only neighbours in length go together. The order is a function of (seed, epoch), so the number of
batches already seen is the whole position of the sampler.
Limit: arrays beyond `MEMORY` bytes are encoded batch by batch instead, in every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.spec import Array

MEMORY = 2 << 30
CHUNK = 1024


@dataclass(frozen=True)
class Rows:
    """A split ready to train on: `lengths` int64 (rows,), `labels` int64 (rows,), and its arrays.

    `arrays` holds, in the order of the encoder's inputs, one array (rows, ...) where every size is fixed
    or a list of unpadded rows where the last axis varies; None when they are made batch by batch.
    """

    encoder: Encoder
    examples: Sequence[Any]
    labels: Array
    lengths: Array
    arrays: tuple[Array | list[Array], ...] | None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Array) -> tuple[Tensor, ...]:
        """The inputs of these rows, in the order of the spec, padded to their longest."""
        if self.arrays is None:
            encoded = self.encoder.encode([self.examples[row] for row in rows.tolist()])
            return tuple(torch.from_numpy(encoded[declared.name]) for declared in self.encoder.inputs)
        tensors = []
        for declared, array in zip(self.encoder.inputs, self.arrays, strict=True):
            if isinstance(array, list):
                fill = pad_value(self.encoder, declared.name)
                tensors.append(torch.from_numpy(_pad([array[row] for row in rows.tolist()], fill)))
            else:
                tensors.append(torch.from_numpy(array[rows]))
        return tuple(tensors)


def encode_rows(encoder: Encoder, split: Split) -> Rows:
    """Encode a split once; raises `InputError` naming an example that the encoder cannot take."""
    labels = np.ascontiguousarray(split.labels, dtype=np.int64)
    varies = any(isinstance(size, str) for declared in encoder.inputs for size in declared.shape[1:])
    if varies:
        # neighbours in length share a chunk, so that little padding is made only to be cut off again
        order = sorted(range(len(split)), key=lambda row: encoder.size(split.examples[row]))
        found: list[list[Array]] = [[np.empty(0)] * len(split) for _ in encoder.inputs]
        lengths = np.ones(len(split), dtype=np.int64)
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            encoded = encoder.encode([split.examples[row] for row in rows])
            for position, row in enumerate(rows):
                lengths[row] = max(int(encoded["attention_mask"][position].sum()), 1)
                for column, declared in zip(found, encoder.inputs, strict=True):
                    column[row] = encoded[declared.name][position, : lengths[row]].copy()
        return Rows(encoder, split.examples, labels, lengths, tuple(found))
    lengths = np.asarray([encoder.size(example) for example in split.examples], dtype=np.int64)
    first = encoder.encode(split.examples[:1])
    if sum(array.nbytes for array in first.values()) * len(split) > MEMORY:
        return Rows(encoder, split.examples, labels, lengths, None)
    encoded = encoder.encode(split.examples)
    return Rows(encoder, split.examples, labels, lengths, tuple(encoded[i.name] for i in encoder.inputs))


def epoch_batches(lengths: Array, *, batch_size: int, bucket: int, seed: int, epoch: int) -> list[Array]:
    """The row numbers of each batch of an epoch; every row once, the one short batch anywhere."""
    chance = np.random.default_rng((seed, epoch))
    order = chance.permutation(len(lengths))
    pools = [order[start : start + batch_size * bucket] for start in range(0, len(order), batch_size * bucket)]
    batches: list[Array] = []
    for pool in pools:
        alike = pool[np.argsort(lengths[pool], kind="stable")] if bucket > 1 else pool
        batches.extend(alike[start : start + batch_size] for start in range(0, len(alike), batch_size))
    return [batches[position] for position in chance.permutation(len(batches))]


def pad_value(encoder: Encoder, name: str) -> int:
    """What fills a short row of input `name`: the tokenizer's padding for ids, 0 for everything else."""
    return int(getattr(encoder, "pad_id", 0)) if name == "input_ids" else 0


def _pad(rows: list[Array], fill: int) -> Array:
    padded = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=rows[0].dtype)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return padded
