"""Which layers of a transformer can go: greedily, the one without which the loss is smallest, one after another.

The loss is measured, not estimated: leaving a whole layer out is no small change, and first order says little
about it. With 256 rows and 6 layers of MiniLM down to 3 that is 15 passes over the rows.
Limit: greedy; two layers that can only be missed together stay.

Source: Sajjad et al. 2023 (arXiv:2004.03844) for dropping layers of a trained transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from toolkit.compress.importance import BATCH
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.nets.transformer import Transformer, TransformerSizes
from toolkit.progress import Progress


def choose_layers(net: Transformer, encoder: Encoder, rows: Split, count: int, progress: Progress) -> list[int]:
    """The `count` layers that stay, sorted; leaves out what `rows` miss least, one after the other."""
    kept = list(range(len(net.layers)))
    whole = net.layers
    try:
        while len(kept) > count:
            losses = []
            for left_out in kept:
                net.layers = nn.ModuleList([whole[layer] for layer in kept if layer != left_out])
                losses.append(_loss(net, encoder, rows))
            kept.pop(int(np.argmin(losses)))
            progress("layers", len(whole) - len(kept), len(whole) - count, f"left: {kept}")
    finally:
        net.layers = whole
    return kept


def keep_layers(net: Transformer, kept: Sequence[int]) -> None:
    """Leave these layers in `net`, in place."""
    net.layers, net.sizes = nn.ModuleList([net.layers[layer] for layer in kept]), sizes_of_layers(net.sizes, kept)


def sizes_of_layers(sizes: TransformerSizes, kept: Sequence[int]) -> TransformerSizes:
    """The sizes with these layers only."""
    return replace(
        sizes,
        heads=tuple(sizes.heads[layer] for layer in kept),
        feed_forward=tuple(sizes.feed_forward[layer] for layer in kept),
    )


def _loss(net: Transformer, encoder: Encoder, rows: Split) -> float:
    order = sorted(range(len(rows)), key=lambda row: encoder.size(rows.examples[row]))
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            arrays = encoder.encode([rows.examples[row] for row in chosen])
            logits = net(*(torch.from_numpy(arrays[declared.name]) for declared in encoder.inputs))
            total += float(functional.cross_entropy(logits, torch.from_numpy(rows.labels[chosen]), reduction="sum"))
    return total
