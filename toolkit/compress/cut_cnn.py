"""Which channels of a residual cnn stay, inside its blocks and between them, and the smaller cnn made of them.

Inside a block nothing but the second convolution reads the first one's channels, so they go by the block. The
channels of a stage are tied together by its residual sums: one gate over the outputs of all its blocks (and of
the stem), and they leave every block, shortcut, norm and reader at once.
A convolution has as many weights as the product of the channels on its two sides, so inner channels and stage
channels each keep the square root of `keep`: both cut alike, and about `keep` of the weights is what is left.

Weights are many where maps are small, and time goes where maps are large: of MNIST in INT8 the three convolutions
over 28x28 take 117 of 210 microseconds, the whole stage of 7x7 takes 27. By weights the last stage is emptied, and
little time is won. By "macs" a weight costs the positions of the map that it writes, and the first stages go. What is
left depends on where channels stay on both sides, so the two shares are made as large as `keep` of the
multiply-accumulates allows. Cost: more bytes are left than by weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from toolkit.compress.importance import Gate, measure_importance
from toolkit.compress.units import MACS, WEIGHTS, Target, Unit, blocks_of, channels_of, choose_units, take
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.errors import RecipeError
from toolkit.nets.cnn import Cnn, CnnSizes
from toolkit.progress import Progress

BLOCK = 8  # channels that go or stay together: a net whose channels are no multiple of 8 may get slower
HALVINGS = 40  # of the interval of ratios: the end is below a channel of any net


def check_cnn(sizes: CnnSizes, target: Target) -> None:
    """Raises `RecipeError` for what only a transformer has: layers, a width, a latency table."""
    if target.layers is not None:
        raise RecipeError(
            f"layers is {target.layers}; a cnn keeps its {sum(map(len, sizes.inner))} blocks, leave it out"
        )
    if target.width is not None:
        raise RecipeError(f"width is {target.width}; the stages of a cnn are cut by keep, leave width out")
    if target.embedding is not None:
        raise RecipeError(f"embedding is {target.embedding}; a cnn has no token table, leave embedding out")
    if target.table is not None:
        raise RecipeError("a latency table is of a transformer's parts; a cnn is cut by weights or macs, leave it out")


def cut_cnn(
    net: nn.Module, encoder: Encoder, rows: Split, target: Target, whole: CnnSizes, progress: Progress
) -> tuple[Cnn, CnnSizes]:
    """A `Cnn` with `target.keep` of the weights or macs of `whole`, which the net was before any cut; and `whole`."""
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
    inner_prices, stage_prices = prices(whole, by=target.by)

    def choose(ratio: float) -> tuple[list[Tensor], list[Tensor]]:
        counts = [n for stage in whole.inner for n in stage]
        inner = _choose("inner", scores[: len(blocks)], inner_prices, ratio, counts)
        stages = _choose("stage", scores[len(blocks) :], stage_prices, ratio, whole.stages)
        return channels_of(inner, "inner", len(blocks)), channels_of(stages, "stage", len(members))

    ratio = math.sqrt(target.keep)
    if target.by == MACS:
        sizes = net.sizes
        ratio = _widest(lambda ratio: count_macs(_sizes_of(sizes, *choose(ratio))), target.keep * count_macs(whole))
    return _cut(net, *choose(ratio)), whole


def stages_of(sizes: CnnSizes) -> list[int]:
    """The stage that each block belongs to, in order."""
    return [stage for stage, inner in enumerate(sizes.inner) for _ in inner]


def prices(sizes: CnnSizes, *, by: str = WEIGHTS) -> tuple[list[float], list[float]]:
    """What goes with one inner channel of each block, and with one channel of each stage: convolution weights.

    With `by` "macs" their multiply-accumulates, for each position of the stem's map.
    """
    inner: list[float] = []
    stages = [0.0] * len(sizes.stages)
    stages[0] = float(sizes.channels * sizes.stem_kernel**2)
    before = 0
    for stage, channels in zip(stages_of(sizes), (n for inner in sizes.inner for n in inner), strict=True):
        each = area(stage) if by == MACS else 1.0
        inner.append(9.0 * each * (sizes.stages[before] + sizes.stages[stage]))
        stages[before] += 9.0 * each * channels
        stages[stage] += 9.0 * each * channels
        if before != stage:  # a shortcut of 1x1
            stages[before] += each * sizes.stages[stage]
            stages[stage] += each * sizes.stages[before]
        before = stage
    return inner, stages


def area(stage: int) -> float:
    """Positions of the maps of a stage, for each of the stem's: each stage after the first halves both sides.

    Every convolution of a block writes maps of its own stage, also the one that strides and the shortcut.
    """
    return 0.25**stage


def count_macs(sizes: CnnSizes) -> float:
    """Multiply-accumulates of all convolutions, for each position of the stem's map."""
    total = float(sizes.channels * sizes.stem_kernel**2 * sizes.stages[0])
    before = 0
    for stage, channels in zip(stages_of(sizes), (n for inner in sizes.inner for n in inner), strict=True):
        reads, writes = sizes.stages[before], sizes.stages[stage]
        total += area(stage) * (9 * channels * (reads + writes) + (reads * writes if before != stage else 0))
        before = stage
    return total


def _widest(spend: Callable[[float], float], budget: float) -> float:
    """The largest ratio up to 1 that spends no more than `budget`; 0, the least there is, where none does."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if spend(middle) <= budget * (1.0 + 1e-9):
            low = middle
        else:
            high = middle
    return low


def _choose(
    part: str, scores: Sequence[Tensor], price: Sequence[float], ratio: float, whole: Sequence[int]
) -> list[Unit]:
    """Channels in eights, those that matter most for their price, to `ratio` of what `whole` many channels cost."""
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
    small = Cnn(_sizes_of(net.sizes, inner, stages))
    small.load_state_dict(state)
    return small.eval()


def _sizes_of(sizes: CnnSizes, inner: Sequence[Tensor], stages: Sequence[Tensor]) -> CnnSizes:
    """The sizes of a net that has only these channels."""
    counts = iter(len(channels) for channels in inner)
    return replace(
        sizes,
        stages=tuple(len(channels) for channels in stages),
        inner=tuple(tuple(next(counts) for _ in stage) for stage in sizes.inner),
    )
