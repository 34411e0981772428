"""Users, items and what is known of them, to one answer: a factorization machine beside a dense net.

Every field becomes a vector: a category its embedding, a number times a vector, a set the mean of its
members' vectors. First-order weights give each value a say of its own, the pairwise products of all vectors
model who likes what, and a small dense net takes the rest. While training, a category is sometimes replaced by
"never seen", so that the vector of row 0 is learned: in production most users are new.

Limits: no history of a user within the request; no ranking loss.
Source: Guo et al. 2017, DeepFM (arXiv:1703.04247); He and Chua 2017 (arXiv:1708.05027) for the pooled products.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from toolkit.encoders.record import Field
from toolkit.errors import RecipeError

ROLES = ("category", "number", "set")


@dataclass(frozen=True)
class RecommenderSizes:
    """`fields` are (role, size) in the order of the inputs: a category's ids, a set's members, 1 for a number.

    `unseen` is the share of category ids that training replaces by 0, "never seen".
    """

    fields: tuple[tuple[str, int], ...]
    width: int
    hidden: tuple[int, ...]
    labels: int
    dropout: float = 0.2
    unseen: float = 0.1

    def __post_init__(self) -> None:
        for role, size in self.fields:
            if role not in ROLES or size < 1:
                raise RecipeError(f"field {(role, size)} is unknown; allowed: {', '.join(ROLES)}, size 1 or more")
        if not self.fields or min(self.width, self.labels, *self.hidden) < 1 or not 0 <= self.unseen < 1:
            raise RecipeError(f"a recommender needs a field, sizes of 1 or more and 0 <= unseen < 1; got {self}")


def field_sizes(fields: Iterable[Field]) -> tuple[tuple[str, int], ...]:
    """`RecommenderSizes.fields` of a record encoder's fields."""
    extra = {"category": 1, "number": 1, "set": 0}  # a category has one id more, for "never seen"
    return tuple((field.role, len(field.values) + extra[field.role]) for field in fields)


class _Vectors(nn.Module):
    """One vector of `width` for the value of one field."""

    def __init__(self, role: str, size: int, width: int, deviation: float) -> None:
        super().__init__()
        self.role = role
        self.table = nn.Parameter(torch.randn(size, width) * deviation)

    def forward(self, values: Tensor) -> Tensor:
        if self.role == "category":
            return nn.functional.embedding(values, self.table)
        if self.role == "number":
            return values.unsqueeze(-1) * self.table
        return (values @ self.table) / values.sum(dim=-1, keepdim=True).clamp(min=1.0)


class Recommender(nn.Module):
    """One array a field, (batch,) or (batch, members), to logits float32 (batch, labels)."""

    kind = "recommender"

    def __init__(self, sizes: RecommenderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.first_order = nn.ModuleList([_Vectors(*field, sizes.labels, 0.0) for field in sizes.fields])
        self.vectors = nn.ModuleList([_Vectors(*field, sizes.width, 0.05) for field in sizes.fields])
        widths = ((len(sizes.fields) + 1) * sizes.width, *sizes.hidden)
        self.dense = nn.ModuleList([nn.Linear(before, after) for before, after in pairwise(widths)])
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(widths[-1], sizes.labels)
        self.products = nn.Linear(sizes.width, sizes.labels, bias=False)

    def forward(self, *arrays: Tensor) -> Tensor:
        if self.training and self.sizes.unseen:
            arrays = tuple(self._forget(array) for array in arrays)
        first = torch.stack([part(array) for part, array in zip(self.first_order, arrays, strict=True)]).sum(dim=0)
        vectors = torch.stack([part(array) for part, array in zip(self.vectors, arrays, strict=True)], dim=1)
        # the sum over all pairs of products is half of (square of the sum minus sum of the squares)
        products = 0.5 * (vectors.sum(dim=1).square() - vectors.square().sum(dim=1))
        features = self.dropout(torch.cat([vectors.flatten(1), products], dim=-1))
        for dense in self.dense:
            features = self.dropout(torch.relu(dense(features)))
        logits: Tensor = first + self.products(products) + self.classifier(features)
        return logits

    def _forget(self, array: Tensor) -> Tensor:
        if array.dtype != torch.int64:
            return array
        return array.masked_fill(torch.rand(array.shape, device=array.device) < self.sizes.unseen, 0)
