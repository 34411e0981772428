"""Which inner channels of a residual cnn stay, and the smaller cnn made of them.

Inside a block nothing but the second convolution reads the first one's channels, so they go one by one; the
widths of the stages are tied together by residual sums, and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from toolkit.compress.importance import measure_importance
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.errors import RecipeError
from toolkit.nets.cnn import Block, Cnn
from toolkit.progress import Progress

BLOCK = 8  # channels that go or stay together: a net whose channels are no multiple of 8 may get slower


def cut_cnn(
    net: nn.Module, encoder: Encoder, rows: Split, keep: float, layers: int | None, progress: Progress
) -> nn.Module:
    """A `Cnn` with `keep` of the weights inside its blocks; raises `RecipeError` when `layers` is given."""
    net = cast(Cnn, net)
    if layers is not None:
        raise RecipeError(f"layers is {layers}; a cnn keeps its blocks, leave layers out")
    if keep == 1.0:
        return net
    blocks = [cast(Block, block) for block in net.blocks]
    scores = measure_importance(net, encoder, rows, [block.second for block in blocks], progress=progress)
    weights = [_weights_of_channel(block) for block in blocks]
    return _cut(net, _choose(scores, weights, keep))


def _weights_of_channel(block: Block) -> int:
    """Weights that go with one inner channel: a filter of the first convolution, a slice of the second."""
    return 9 * (block.first.in_channels + block.second.out_channels)


def _choose(scores: Sequence[Tensor], weights: Sequence[int], keep: float) -> list[Tensor]:
    """Channels that stay, sorted, for each block: what matters most for its weights, in eights, one eight at least."""
    units = []
    for block, score in enumerate(scores):
        order = torch.argsort(score, descending=True, stable=True)
        for start in range(0, len(order), BLOCK):
            channels = order[start : start + BLOCK]
            cost = weights[block] * len(channels)
            units.append((float(score[channels].sum()) / cost, block, channels, cost, start == 0))
    room = keep * sum(cost for *_, cost, _ in units) - sum(cost for *_, cost, first in units if first)
    kept: list[list[int]] = [[] for _ in scores]
    for _, block, channels, cost, first in sorted(units, key=lambda unit: unit[0], reverse=True):
        if first or cost <= room:
            kept[block].extend(channels.tolist())
            room -= 0 if first else cost
    return [torch.tensor(sorted(channels)) for channels in kept]


def _cut(net: Cnn, kept: Sequence[Tensor]) -> Cnn:
    """A new cnn with these inner channels."""
    state = dict(net.state_dict())
    for index, channels in enumerate(kept):
        block = f"blocks.{index}"
        state[f"{block}.first.weight"] = state[f"{block}.first.weight"][channels]
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{block}.first_norm.{name}"] = state[f"{block}.first_norm.{name}"][channels]
        state[f"{block}.second.weight"] = state[f"{block}.second.weight"][:, channels]
    sizes = iter(len(channels) for channels in kept)
    inner = tuple(tuple(next(sizes) for _ in stage) for stage in net.sizes.inner)
    small = Cnn(replace(net.sizes, inner=inner))
    small.load_state_dict(state)
    return small.eval()
