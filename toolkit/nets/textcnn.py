"""Convolutions of several widths over token vectors and a masked maximum: a reader without recurrence.

Every filter looks for one short phrase, and the maximum says whether it was there at all. All positions are
worked on at once, where an lstm takes them one by one; what it cannot see is order beyond its widest kernel.

Padding counts as nothing: its vectors are zeroed before the convolutions, which pad a lone row with zeros just
so, and its positions are masked out of the maximum. A text shorter than a kernel is padded like any other.
Limit: dynamic INT8 takes matrix products and tables, and leaves the convolutions in float.

Source: Kim 2014 (arXiv:1408.5882).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolkit.errors import RecipeError
from toolkit.nets.pooling import masked_max


@dataclass(frozen=True)
class TextcnnSizes:
    """`width` of an embedding; `kernels` are widths in tokens, each with its own number of `filters`."""

    vocabulary: int
    width: int
    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    labels: int
    dropout: float = 0.3

    def __post_init__(self) -> None:
        numbers = (self.vocabulary, self.width, self.labels, *self.filters, *self.kernels)
        if not self.kernels or len(self.filters) != len(self.kernels) or min(numbers) < 1:
            raise RecipeError(
                f"a textcnn needs filters and kernels of one length, all sizes 1 or more; "
                f"got filters {self.filters}, kernels {self.kernels}"
            )


class Textcnn(nn.Module):
    """input_ids and attention_mask, int64 (batch, length), to logits float32 (batch, labels)."""

    kind = "textcnn"

    def __init__(self, sizes: TextcnnSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        nn.init.normal_(self.tokens.weight, std=0.1)
        self.convolutions = nn.ModuleList(
            [
                nn.Conv1d(sizes.width, filters, kernel, padding=kernel // 2)
                for filters, kernel in zip(sizes.filters, sizes.kernels, strict=True)
            ]
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(sum(sizes.filters), sizes.labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.dropout(self.tokens(input_ids))
        states = (states * attention_mask.unsqueeze(-1).to(states.dtype)).transpose(1, 2)
        length = input_ids.shape[1]
        # an even kernel has one position too many, whose window starts behind the middle of the last token's
        found = torch.cat([convolve(states)[:, :, :length] for convolve in self.convolutions], dim=1)
        features = torch.relu(masked_max(found.transpose(1, 2), attention_mask))
        logits: Tensor = self.classifier(self.dropout(features))
        return logits
