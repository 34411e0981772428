"""The sizes that `prune` leaves, without pruning: of an untrained stand-in whose latency can be measured first.

What is kept is spread evenly over layers (blocks, stages), where `prune` spreads it by importance: one layer may
differ much. A transformer's totals agree within a head and a block of 32 neurons; of a cnn, whose channels
weigh differently from place to place, only the weights agree, to some 30 %. A cut by a latency table is not foreseen.
An even share is the same of weights and of multiply-accumulates, and the nets that `prune` leaves by them are not
alike, nor as fast: where a latency must tell one from the other, cut the net, which a cnn does in a second.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

from toolkit.compress import cut_cnn, cut_transformer
from toolkit.compress.units import MACS, WEIGHTS, Target
from toolkit.errors import InputError, RecipeError
from toolkit.nets.cnn import CnnSizes
from toolkit.nets.transformer import TransformerSizes

Sizes = TypeVar("Sizes", TransformerSizes, CnnSizes)


def shapes_after(
    sizes: Sizes, *, keep: float, layers: int | None = None, width: int | None = None, by: str = WEIGHTS,
    embedding: int | None = None,
) -> Sizes:  # fmt: skip
    """About the sizes that `prune` would leave of a net of `sizes`; raises what it would raise.

    By "macs" the same as by weights: see the module.
    """
    check_sizes(sizes, Target(keep, layers, width, by=by, embedding=embedding))
    made: Any
    if isinstance(sizes, CnnSizes):
        made = _cnn(sizes, math.sqrt(keep))
    else:
        made = replace(
            _transformer(sizes, keep, layers or len(sizes.heads), width), embedding=embedding or sizes.embedding
        )
    after: Sizes = made
    return after


def _cnn(sizes: CnnSizes, ratio: float) -> CnnSizes:
    stages = _spread(sizes.stages, ratio, cut_cnn.BLOCK)
    return replace(sizes, stages=stages, inner=tuple(_spread(stage, ratio, cut_cnn.BLOCK) for stage in sizes.inner))


def _transformer(sizes: TransformerSizes, keep: float, depth: int, width: int | None) -> TransformerSizes:
    return replace(
        sizes,
        width=width or sizes.width,
        heads=_spread(sizes.heads[:depth], keep, 1),
        feed_forward=_spread(sizes.feed_forward[:depth], keep, cut_transformer.BLOCK),
    )


def check_sizes(sizes: object, target: Target) -> None:
    """Raises `RecipeError` for a target out of its range, `InputError` for a net that is not cut."""
    if not 0.0 < target.keep <= 1.0:
        raise RecipeError(f"keep is {target.keep}; allowed: above 0, to 1.0, the share of prunable weights that stays")
    if target.by not in (WEIGHTS, MACS):
        raise RecipeError(f"by is {target.by!r}; allowed: {WEIGHTS}, {MACS}, or a latency table")
    if target.by == MACS and target.table is not None:
        raise RecipeError("by is macs and a latency table was given; a cut goes by one of them, leave the other out")
    if isinstance(sizes, TransformerSizes):
        cut_transformer.check_transformer(sizes, target)
    elif isinstance(sizes, CnnSizes):
        cut_cnn.check_cnn(sizes, target)
    else:
        raise InputError(f"sizes are {type(sizes).__name__}; allowed: TransformerSizes, CnnSizes")


def _spread(sizes: tuple[int, ...], share: float, block: int) -> tuple[int, ...]:
    """`share` of the sum of `sizes` in whole blocks, as evenly as they go over places; a block each at least."""
    if share == 1.0:
        return sizes
    room = max(int(share * sum(sizes) / block + 1e-9), len(sizes))
    blocks = [0] * len(sizes)
    for _ in range(room):
        # the place that is furthest behind its own size
        blocks[min(range(len(sizes)), key=lambda place: (blocks[place] + 1) / sizes[place])] += 1
    return tuple(min(count * block, size) for count, size in zip(blocks, sizes, strict=True))
