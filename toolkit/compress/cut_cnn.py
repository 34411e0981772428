"""Which channels of a residual cnn stay, inside its blocks and between them, and the smaller cnn made of them.

Inside a block nothing but the second convolution reads the first one's channels, so they go by the block. The
channels of a stage are tied together by its residual sums: one gate over the outputs of all its blocks (and of
the stem), and they leave every block, shortcut, norm and reader at once.
A convolution has as many weights as the product of the channels on its two sides, so inner channels and stage
channels each keep the square root of `keep`: both cut alike, and `keep` of the weights is what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from toolkit.compress.importance import Gate, measure_importance
from toolkit.compress.units import Target, Unit, blocks_of, channels_of, choose_units, take
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.errors import RecipeError
from toolkit.nets.cnn import Cnn, CnnSizes
from toolkit.progress import Progress

BLOCK = 8  # channels that go or stay together: a net whose channels are no multiple of 8 may get slower


def check_cnn(sizes: CnnSizes, target: Target) -> None:
    """Raises `RecipeError` for what only a transformer has: layers, a width, a latency table."""
    if target.layers is not None:
        raise RecipeError(
            f"layers is {target.layers}; a cnn keeps its {sum(map(len, sizes.inner))} blocks, leave it out"
        )
    if target.width is not None:
        raise RecipeError(f"width is {target.width}; the stages of a cnn are cut by keep, leave width out")
    if target.table is not None:
        raise RecipeError("a latency table is of a transformer's parts; a cnn is cut by weights, leave the table out")


def cut_cnn(
    net: nn.Module, encoder: Encoder, rows: Split, target: Target, whole: CnnSizes, progress: Progress
) -> tuple[Cnn, CnnSizes]:
    """A `Cnn` with `target.keep` of the weights of `whole`, which the net was before any cut; and `whole`."""
    net = cast(Cnn, net)
    if target.keep == 1.0:
        return net, whole
    blocks = cast(list[nn.Module], list(net.blocks))
    members: list[list[nn.Module]] = [[] for _ in net.sizes.stages]
    members[0].append(net.stem_norm)  # before its relu: switching a channel off is the same on either side of it
    for block, stage in zip(blocks, stages_of(net.sizes), strict=True):
        members[stage].append(block)
    gates: list[Gate] = [cast(nn.Module, block.second) for block in blocks]
    gates += [tuple(modules) for modules in members]
    scores = measure_importance(net, encoder, rows, gates, progress=progress)
    inner_prices, stage_prices = prices(whole)
    ratio = math.sqrt(target.keep)
    inner = _choose("inner", scores[: len(blocks)], inner_prices, ratio, [n for stage in whole.inner for n in stage])
    stages = _choose("stage", scores[len(blocks) :], stage_prices, ratio, whole.stages)
    return _cut(net, channels_of(inner, "inner", len(blocks)), channels_of(stages, "stage", len(members))), whole


def stages_of(sizes: CnnSizes) -> list[int]:
    """The stage that each block belongs to, in order."""
    return [stage for stage, inner in enumerate(sizes.inner) for _ in inner]


def prices(sizes: CnnSizes) -> tuple[list[float], list[float]]:
    """The convolution weights that go with one inner channel of each block, and with one channel of each stage."""
    inner: list[float] = []
    stages = [0.0] * len(sizes.stages)
    stages[0] = float(sizes.channels * 9)
    before = 0
    for stage, channels in zip(stages_of(sizes), (n for inner in sizes.inner for n in inner), strict=True):
        inner.append(9.0 * (sizes.stages[before] + sizes.stages[stage]))
        stages[before] += 9.0 * channels
        stages[stage] += 9.0 * channels
        if before != stage:  # a shortcut of 1x1
            stages[before] += sizes.stages[stage]
            stages[stage] += sizes.stages[before]
        before = stage
    return inner, stages


def _choose(
    part: str, scores: Sequence[Tensor], price: Sequence[float], ratio: float, whole: Sequence[int]
) -> list[Unit]:
    """Channels in eights, those that matter most for their weights, to `ratio` of what `whole` many channels weigh."""
    units = [
        Unit(part, place, block, float(score[list(block)].sum()), price[place] * len(block))
        for place, score in enumerate(scores)
        for block in blocks_of(score, BLOCK)
    ]
    return choose_units(units, ratio * sum(each * count for each, count in zip(price, whole, strict=True)))


def _cut(net: Cnn, inner: Sequence[Tensor], stages: Sequence[Tensor]) -> Cnn:
    """A new cnn with these inner channels and these channels of the stages."""
    state = dict(net.state_dict())
    for name in ("stem", "stem_norm"):
        take(state, name, stages[0], axis=0)
    before = stages[0]
    for index, stage in enumerate(stages_of(net.sizes)):
        block, after = f"blocks.{index}", stages[stage]
        for name in ("first", "first_norm"):
            take(state, f"{block}.{name}", inner[index], axis=0)
        take(state, f"{block}.first", before, axis=1)
        take(state, f"{block}.second", inner[index], axis=1)
        for name in ("second", "second_norm", "shortcut.0", "shortcut.1"):
            take(state, f"{block}.{name}", after, axis=0)
        take(state, f"{block}.shortcut.0", before, axis=1)
        before = after
    take(state, "classifier", before, axis=1)
    counts = iter(len(channels) for channels in inner)
    sizes = replace(
        net.sizes,
        stages=tuple(len(channels) for channels in stages),
        inner=tuple(tuple(next(counts) for _ in stage) for stage in net.sizes.inner),
    )
    small = Cnn(sizes)
    small.load_state_dict(state)
    return small.eval()
