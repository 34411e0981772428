"""Pooling over what is not padding, in operations that every runtime here has and INT8 leaves alone."""

from __future__ import annotations

from torch import Tensor

# finite, so that fp16 and INT8 make no NaN of it; far below anything a net here puts out
MASKED = -10_000.0


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """states (batch, length, width), mask int64 (batch, length) with a 1 in every row; (batch, width)."""
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(dim=1) / kept.sum(dim=1)


def masked_max(states: Tensor, mask: Tensor) -> Tensor:
    """The same shapes as `masked_mean`; the largest value of each column."""
    return states.masked_fill(mask.unsqueeze(-1) == 0, MASKED).amax(dim=1)
