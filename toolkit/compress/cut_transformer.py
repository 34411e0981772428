"""Which heads, neurons, layers and hidden channels of a transformer stay, and the smaller transformer of them.

Heads go one by one, neurons in blocks of 32 of like importance. Hidden channels are one gate over the output
of every norm, since the residual sums tie them through the whole net: they leave the embeddings, the positions,
every norm and product, and the classifier at once; what a head is wide stays. Losing hidden channels moves the
mean and the deviation that every norm divides by, so a narrower net answers badly until it has recovered.

Heads and neurons each keep their own share, of weights or of measured time, over all layers. Ranked together,
heads lose to neurons: at 0.35 that cost 3 points of validation accuracy before recovery (TREC, by weights); at
0.5 there was no difference to speak of. Whether it would by time was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from toolkit.compress.drop_layers import choose_layers, keep_layers, sizes_of_layers
from toolkit.compress.importance import Gate, measure_importance
from toolkit.compress.latency_table import LatencyTable
from toolkit.compress.units import MACS, Target, Unit, blocks_of, channels_of, choose_units, merge_ranked, take
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.errors import RecipeError
from toolkit.nets.transformer import Layer, Transformer, TransformerSizes
from toolkit.progress import Progress

BLOCK = 32  # neurons that go or stay together: kernels work in such multiples


def check_transformer(sizes: TransformerSizes, target: Target) -> None:
    """Raises `RecipeError` for layers or a width that a net of `sizes` cannot have, a table of another net, or macs."""
    depth, width, block = len(sizes.heads), sizes.width, width_block(sizes.width)
    if target.layers is not None and not 1 <= target.layers <= depth:
        raise RecipeError(f"layers is {target.layers}; this net has {depth}, allowed: 1 to {depth}")
    if (
        target.width is not None
        and target.width != width
        and not (block <= target.width <= width and target.width % block == 0)
    ):
        raise RecipeError(f"width is {target.width}; allowed: a multiple of {block} up to {width}, the width it has")
    if target.by == MACS:
        raise RecipeError("by is macs; those of a transformer go with its weights: cut it by weights or by latency")
    _check_embedding(sizes, target)
    if target.table is not None:
        target.table.check(replace(sizes, width=target.width or width))


def _check_embedding(sizes: TransformerSizes, target: Target) -> None:
    """A table stays narrower than the net, and gets no wider."""
    width, has = target.width or sizes.width, sizes.embedding
    if has is not None and width <= has:
        raise RecipeError(f"width is {width}; the token table of this net has {has} columns, allowed: more than that")
    most = has or width - 1
    if target.embedding is not None and not 1 <= target.embedding <= most:
        reason = f"columns that its token table has, of {width}" if has else f"less than the width of {width}"
        raise RecipeError(f"embedding is {target.embedding}; allowed: 1 to {most}, {reason}")


def width_block(width: int) -> int:
    """What a hidden width is a multiple of: 32, or 8 for a net narrower than 128."""
    return 32 if width >= 128 else 8


def cut_transformer(
    net: nn.Module, encoder: Encoder, rows: Split, target: Target, whole: TransformerSizes, progress: Progress
) -> tuple[Transformer, TransformerSizes]:
    """`net` cut to `target`, a share of `whole` (what the net was before any cut); and `whole` with the same layers.

    `net` itself may be changed: pass a copy.
    """
    net = cast(Transformer, net)
    if target.layers is not None and target.layers < len(net.layers):
        kept = choose_layers(net, encoder, rows, target.layers, progress)
        keep_layers(net, kept)
        whole = sizes_of_layers(whole, kept)
    width = target.width or net.sizes.width
    if target.keep == 1.0 and width == net.sizes.width:
        return net, whole
    layers = [cast(Layer, layer) for layer in net.layers]
    gates: list[Gate] = [product for layer in layers for product in (layer.attention.output, layer.contract)]
    gates.append((net.norm, *(norm for layer in layers for norm in (layer.attention_norm, layer.feed_forward_norm))))
    scores = measure_importance(net, encoder, rows, gates, progress=progress)
    channels = torch.sort(torch.argsort(scores[-1], descending=True, stable=True)[:width]).values
    if target.table is None:
        units, budgets = _units_by_weights(scores, net.sizes), _budgets_by_weights(target.keep, whole)
    else:
        units = _units_by_latency(scores, net.sizes, target.table)
        budgets = _budgets_by_latency(target.keep, whole, target.table)
    chosen = []
    for part, budget in budgets.items():
        chosen += choose_units([unit for unit in units if unit.part == part], budget)
    return _cut(net, chosen, channels), whole


def _units_by_weights(scores: Sequence[Tensor], sizes: TransformerSizes) -> list[Unit]:
    """All units at their number of weights, but for the factor of the width, which is the same for all."""
    units = []
    for index in range(len(sizes.heads)):
        heads = scores[2 * index].view(-1, sizes.head_width).sum(dim=1)
        units += [
            Unit("heads", index, head, float(heads[head[0]]), 4.0 * sizes.head_width) for head in blocks_of(heads, 1)
        ]
        neurons = scores[2 * index + 1]
        units += [
            Unit("neurons", index, block, float(neurons[list(block)].sum()), 2.0 * len(block))
            for block in blocks_of(neurons, BLOCK)
        ]
    return units


def _budgets_by_weights(keep: float, whole: TransformerSizes) -> dict[str, float]:
    return {
        "heads": keep * 4.0 * whole.head_width * sum(whole.heads),
        "neurons": keep * 2.0 * sum(whole.feed_forward),
    }


def _units_by_latency(scores: Sequence[Tensor], sizes: TransformerSizes, table: LatencyTable) -> list[Unit]:
    """All units at the microseconds that each adds to those more important; the first of a layer carries the rest."""
    units = []
    for index in range(len(sizes.heads)):
        heads = scores[2 * index].view(-1, sizes.head_width).sum(dim=1)
        ranked, before = [], 0.0
        for count, head in enumerate(torch.argsort(heads, descending=True, stable=True).tolist(), 1):
            spent = table.attention_us(count)
            ranked.append(Unit("heads", index, (head,), float(heads[head]), spent - before))
            before = spent
        units += [ranked[0], *merge_ranked(ranked[1:])]
        neurons = scores[2 * index + 1]
        ranked, before, count = [], 0.0, 0
        for block in blocks_of(neurons, BLOCK):
            count += len(block)
            spent = table.feed_forward_us(count)
            ranked.append(Unit("neurons", index, block, float(neurons[list(block)].sum()), spent - before))
            before = spent
        units += [ranked[0], *merge_ranked(ranked[1:])]
    return units


def _budgets_by_latency(keep: float, whole: TransformerSizes, table: LatencyTable) -> dict[str, float]:
    """Of each part what must be spent, a head and a block in every layer, and `keep` of what could be saved."""
    depth = len(whole.heads)
    spent = {
        "heads": (depth * table.attention_us(1), sum(map(table.attention_us, whole.heads))),
        "neurons": (
            sum(table.feed_forward_us(min(BLOCK, neurons)) for neurons in whole.feed_forward),
            sum(map(table.feed_forward_us, whole.feed_forward)),
        ),
    }
    return {part: least + keep * (most - least) for part, (least, most) in spent.items()}


def _cut(net: Transformer, chosen: Sequence[Unit], hidden: Tensor) -> Transformer:
    """A new transformer of the chosen heads and neurons and of these hidden channels, in their old order."""
    depth, head_width = len(net.layers), net.sizes.head_width
    heads, neurons = channels_of(chosen, "heads", depth), channels_of(chosen, "neurons", depth)
    state = dict(net.state_dict())
    for name in ("tokens" if net.lift is None else "", "positions", "classifier"):
        take(state, name, hidden, axis=1)
    for name in ("lift", "norm"):
        take(state, name, hidden, axis=0)
    for index in range(depth):
        layer = f"layers.{index}"
        mixed = (heads[index][:, None] * head_width + torch.arange(head_width)).flatten()
        every = net.sizes.heads[index] * head_width
        take(state, f"{layer}.attention.qkv", torch.cat([mixed, mixed + every, mixed + 2 * every]), axis=0)
        take(state, f"{layer}.attention.output", mixed, axis=1)
        take(state, f"{layer}.expand", neurons[index], axis=0)
        take(state, f"{layer}.contract", neurons[index], axis=1)
        for name in ("attention.qkv", "expand"):
            take(state, f"{layer}.{name}", hidden, axis=1)
        for name in ("attention.output", "contract", "attention_norm", "feed_forward_norm"):
            take(state, f"{layer}.{name}", hidden, axis=0)
    sizes = replace(
        net.sizes,
        width=len(hidden),
        heads=tuple(len(kept) for kept in heads),
        feed_forward=tuple(len(kept) for kept in neurons),
    )
    small = Transformer(sizes)
    small.load_state_dict(state)
    return small.eval()
