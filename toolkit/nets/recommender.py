"""Users, items and what is known of them, to one answer: a factorization machine beside a dense net.

Every field becomes a vector: a category its embedding, a number times a vector, a set the mean of its
members' vectors. First-order weights give each value a say of its own, the pairwise products of all vectors
model who likes what, and a small dense net takes the rest.

Identifiers (categories of many values: users, items) are treated by their rarity. Their first-order weights
learn ten times faster than the rest, as the wide half of Wide & Deep has an optimizer of its own: how good an
item is must be known before anything finer, or age and occupation learn the few training users by heart. While
training, their vectors are sometimes those of "never seen", so that row 0 is learned: most users are new.

Limits: no history of a user within the request; no ranking loss.
Source: Guo et al. 2017, DeepFM (arXiv:1703.04247); He and Chua 2017 (arXiv:1708.05027) for the pooled products;
Cheng et al. 2016, Wide & Deep (arXiv:1606.07792).
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
IDENTIFIER = 200  # a category of this many ids or more
# AdamW's steps do not depend on a gradient's size, so a gain behind a table is a faster table
IDENTIFIER_GAIN = 10.0


@dataclass(frozen=True)
class RecommenderSizes:
    """`fields` are (role, size) in the order of the inputs: a category's ids, a set's members, 1 for a number.

    `unseen` is the share of identifiers whose vector training replaces by that of 0, "never seen".
    """

    fields: tuple[tuple[str, int], ...]
    width: int
    hidden: tuple[int, ...]
    labels: int
    dropout: float = 0.2
    unseen: float = 0.3

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
        if role == "category":
            nn.init.zeros_(self.table.data[0])  # "never seen" says nothing until training tells it what to

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
        self.identifiers = [role == "category" and size >= IDENTIFIER for role, size in sizes.fields]
        self.first_order = nn.ModuleList([_Vectors(*field, sizes.labels, 0.0) for field in sizes.fields])
        self.vectors = nn.ModuleList([_Vectors(*field, sizes.width, 0.05) for field in sizes.fields])
        widths = ((len(sizes.fields) + 1) * sizes.width, *sizes.hidden)
        self.dense = nn.ModuleList([nn.Linear(before, after) for before, after in pairwise(widths)])
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(widths[-1], sizes.labels)
        self.products = nn.Linear(sizes.width, sizes.labels, bias=False)

    def forward(self, *arrays: Tensor) -> Tensor:
        parts = zip(self.first_order, arrays, self.identifiers, strict=True)
        weights = [part(array) * (IDENTIFIER_GAIN if fast else 1.0) for part, array, fast in parts]
        if self.training and self.sizes.unseen:
            arrays = tuple(self._forget(a) if i else a for a, i in zip(arrays, self.identifiers, strict=True))
        vectors = torch.stack([part(array) for part, array in zip(self.vectors, arrays, strict=True)], dim=1)
        # the sum over all pairs of products is half of (square of the sum minus sum of the squares)
        products = 0.5 * (vectors.sum(dim=1).square() - vectors.square().sum(dim=1))
        features = self.dropout(torch.cat([vectors.flatten(1), products], dim=-1))
        for dense in self.dense:
            features = self.dropout(torch.relu(dense(features)))
        logits: Tensor = torch.stack(weights).sum(dim=0) + self.products(products) + self.classifier(features)
        return logits

    def _forget(self, ids: Tensor) -> Tensor:
        return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < self.sizes.unseen, 0)
