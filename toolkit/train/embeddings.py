"""Train only the rows of an embedding table that the data asks for; the result is the same, and quicker.

Half of MiniLM's parameters are its 30,522 token vectors, and TREC uses a quarter of them. A row that no
batch asks for has no gradient, no momentum and (see `optimizer`) no decay, so AdamW leaves it where it
is: inside the block the table holds the used rows only, afterwards they are put back among the others.
Limit: inside the block an id outside the given rows is an error, never a wrong vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.train.batches import Rows, pad_value

SMALLEST = 4096  # a smaller table costs the optimizer nothing


class UsedRows(nn.Embedding):
    """Stands for `table` but holds its rows `used` (int64, sorted) only; takes the same ids."""

    place: Tensor

    def __init__(self, table: nn.Embedding, used: Tensor) -> None:
        super().__init__(len(used), table.embedding_dim, _weight=table.weight.detach()[used].clone())
        place = torch.full((table.num_embeddings,), -1, dtype=torch.int64)
        place[used] = torch.arange(len(used))
        self.register_buffer("place", place, persistent=False)
        padding = -1 if table.padding_idx is None else int(place[table.padding_idx])
        self.padding_idx = padding if padding >= 0 else None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name that nn.Embedding gave it
        return functional.embedding(self.place[input], self.weight, self.padding_idx)


@contextmanager
def used_rows_only(net: nn.Module, *splits: Rows) -> Iterator[int]:
    """Swap each large token table of `net` for one with the rows that `splits` use; yields how many were swapped."""
    encoder = splits[0].encoder
    vocabulary = getattr(encoder, "vocabulary_size", None)
    swapped: list[tuple[nn.Module, str, nn.Embedding, Tensor]] = []
    if vocabulary is not None and vocabulary >= SMALLEST:
        used = _used_ids(splits)
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if _fits(child, vocabulary) and len(used) <= vocabulary // 2:
                    assert isinstance(child, nn.Embedding)
                    setattr(parent, name, UsedRows(child, used))
                    swapped.append((parent, name, child, used))
    try:
        yield len(swapped)
    finally:
        for parent, name, table, used in swapped:
            trained = getattr(parent, name)
            with torch.no_grad():
                table.weight[used] = trained.weight
            setattr(parent, name, table)


def _fits(module: nn.Module, vocabulary: int) -> bool:
    return (
        type(module) is nn.Embedding
        and module.num_embeddings == vocabulary
        and module.weight.requires_grad
        and module.max_norm is None
        and not module.sparse
    )


def _used_ids(splits: tuple[Rows, ...]) -> Tensor:
    found = [np.asarray([pad_value(splits[0].encoder, "input_ids")], dtype=np.int64)]
    names = [declared.name for declared in splits[0].encoder.inputs]
    for split in splits:
        if split.arrays is not None and "input_ids" in names:
            found.extend(split.arrays[names.index("input_ids")])
    return torch.from_numpy(np.unique(np.concatenate(found)))
