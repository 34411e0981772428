"""A bag of embeddings and a few dense layers: the smallest net that reads text.

Word order is lost but for the pairs that the n-gram encoder makes. The masked mean says what a text is
about, the masked maximum that one telling piece was there at all. Nearly all parameters are the embedding
table, of which a text touches a few rows, so a run costs microseconds.

Source: Joulin et al. 2016 (arXiv:1607.01759); Shen et al. 2018 (arXiv:1805.09843) for mean and maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from toolkit.errors import RecipeError
from toolkit.nets.pooling import masked_max, masked_mean


@dataclass(frozen=True)
class MlpSizes:
    """`width` of an embedding; `hidden` the widths of the dense layers, none for a linear model."""

    vocabulary: int
    width: int
    hidden: tuple[int, ...]
    labels: int
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.vocabulary, self.width, self.labels, *self.hidden) < 1:
            raise RecipeError(f"the sizes of an mlp are 1 or more; got {self}")


class Mlp(nn.Module):
    """input_ids and attention_mask, int64 (batch, length), to logits float32 (batch, labels)."""

    kind = "mlp"

    def __init__(self, sizes: MlpSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        nn.init.normal_(self.tokens.weight, std=0.1)
        widths = (2 * sizes.width, *sizes.hidden)
        self.dense = nn.ModuleList([nn.Linear(before, after) for before, after in pairwise(widths)])
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(widths[-1], sizes.labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.tokens(input_ids)
        features = torch.cat([masked_mean(states, attention_mask), masked_max(states, attention_mask)], dim=-1)
        features = self.dropout(features)
        for dense in self.dense:
            features = self.dropout(torch.relu(dense(features)))
        logits: Tensor = self.classifier(features)
        return logits
