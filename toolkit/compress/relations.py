"""Attention relations: which tokens of a row are alike, as one layer's queries, keys and values see it.

Widths and numbers of heads need not agree: queries of all heads are laid side by side and cut anew into as many
relation heads as divide both nets, and what is compared are distributions over the tokens of the row. So a
narrow student learns the geometry of its teacher's last layer without a matrix in between, and is free
in all layers below. It costs the teacher one forward pass a step, as hidden states do.

Limit: two transformers of ours that read the same tokens.

Source: Wang et al. 2020, MiniLM (arXiv:2002.10957); Wang et al. 2020, MiniLMv2 (arXiv:2012.15828), relations of
queries, keys and values with a common number of relation heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.nets.pooling import MASKED
from toolkit.nets.transformer import Transformer

NARROWEST = 8  # of a relation head; more heads tell more, until one is too narrow to tell anything


class Seen:
    """What the last layer's attention was made of in the newest forward pass."""

    qkv: Tensor


@contextmanager
def watch_attention(net: Transformer) -> Iterator[Seen]:
    """Inside the block, keep the queries, keys and values of the last layer: (batch, length, 3 x heads x head width).

    A hook on one matrix product: the forward pass stays as it is, and outside the block nothing is left of it.
    """
    seen = Seen()

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.qkv = output

    handle = net.layers[-1].attention.qkv.register_forward_hook(keep)  # type: ignore[union-attr]
    try:
        yield seen
    finally:
        handle.remove()


def relation_loss(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean divergence of the student's relations from the teacher's, over relation heads and tokens, padding left out.

    `student` and `teacher` are (batch, length, 3 x their width), as `watch_attention` keeps them; the sum over
    query-query, key-key and value-value relations.
    """
    heads = count_relation_heads(student.shape[-1] // 3, teacher.shape[-1] // 3)
    kept = attention_mask.unsqueeze(1).float()
    bias = (1.0 - kept.unsqueeze(2)) * MASKED
    total = torch.zeros(())
    for own, theirs in zip(student.chunk(3, dim=-1), teacher.chunk(3, dim=-1), strict=True):
        said, told = _relations(own, heads, bias), _relations(theirs, heads, bias)
        apart = (told.exp() * (told - said)).sum(dim=-1)  # (batch, heads, length)
        total = total + (apart * kept).sum() / (kept.sum() * heads)
    return total


def count_relation_heads(*widths: int) -> int:
    """The most relation heads that divide all `widths` and are `NARROWEST` or wider in each; 1 where none are."""
    common, most = math.gcd(*widths), min(widths) // NARROWEST
    return max(count for count in range(1, max(most, 1) + 1) if common % count == 0)


def _relations(vectors: Tensor, heads: int, bias: Tensor) -> Tensor:
    """Log of the softmax over the tokens that each token is like: (batch, heads, length, length)."""
    batch, length, width = vectors.shape
    cut = vectors.float().view(batch, length, heads, width // heads).transpose(1, 2)
    scores = cut @ cut.transpose(-1, -2) / math.sqrt(width // heads)
    return (scores.float() + bias).log_softmax(dim=-1)
