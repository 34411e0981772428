"""What structured pruning cuts by: units (a head, a block of neurons, an eight of channels) and the choice among them.

A unit has an importance and a price: the weights that go with it, the multiply-accumulates that they make, or the
microseconds that it was measured to take. Best importance for the price first, as long as the budget holds: a greedy
knapsack. The best unit of every place always stays, so no layer is left empty.

Source: Shen et al. 2022, HALP (arXiv:2110.10811) for importance against latency as a knapsack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from toolkit.compress.latency_table import LatencyTable

FREE = 1e-9  # a price that nothing is divided below
WEIGHTS, MACS = "weights", "macs"  # what `keep` is a share of, where no table was measured


@dataclass(frozen=True)
class Target:
    """How much is left of a net: `keep` of what its units cost, `layers` and `width` of a transformer (None: all).

    `embedding` is how many columns its token table is factorized to (None: as it is). With a `table` units cost the
    microseconds measured there, without one their weights, or `by` "macs" the multiply-accumulates of a cnn: a weight
    works as often as the map that it writes has positions.
    """

    keep: float
    layers: int | None = None
    width: int | None = None
    table: LatencyTable | None = None
    by: str = WEIGHTS
    embedding: int | None = None


@dataclass(frozen=True)
class Unit:
    """Channels of `part` ("heads", "neurons", "inner", "stage") at `place` (layer, block, stage) that go together."""

    part: str
    place: int
    channels: tuple[int, ...]
    importance: float
    price: float


def blocks_of(score: Tensor, block: int) -> list[tuple[int, ...]]:
    """The channels of `score` (channels,), most important first, in blocks of `block`."""
    order: list[int] = torch.argsort(score, descending=True, stable=True).tolist()
    return [tuple(order[start : start + block]) for start in range(0, len(order), block)]


def choose_units(units: Sequence[Unit], budget: float) -> list[Unit]:
    """The units that matter most for their price, up to `budget` in all; the first one of every place at least.

    `units` of a place come most important first.
    """
    first: dict[tuple[str, int], Unit] = {}
    for unit in units:
        first.setdefault((unit.part, unit.place), unit)
    chosen = list(first.values())
    room = budget - sum(unit.price for unit in chosen)
    rest = [unit for unit in units if first[unit.part, unit.place] is not unit]
    for unit in sorted(rest, key=lambda unit: unit.importance / max(unit.price, FREE), reverse=True):
        if unit.price <= room * (1.0 + 1e-9):
            chosen.append(unit)
            room -= unit.price
    return chosen


def channels_of(units: Iterable[Unit], part: str, places: int) -> list[Tensor]:
    """The channels of `part` that `units` hold, int64, sorted, for each of its `places`."""
    found: list[list[int]] = [[] for _ in range(places)]
    for unit in units:
        if unit.part == part:
            found[unit.place].extend(unit.channels)
    return [torch.tensor(sorted(channels)) for channels in found]


def take(state: dict[str, Tensor], name: str, channels: Tensor, *, axis: int) -> None:
    """Keep these rows (0) of all the tensors of the module `name` in `state`, or these columns (1) of its weight.

    Whatever a module keeps for each of its outputs (bias, norm, running statistics) is a row.
    """
    for key in ("weight", "bias", "running_mean", "running_var") if axis == 0 else ("weight",):
        full = f"{name}.{key}"
        if full in state:
            state[full] = state[full].index_select(axis, channels)


def merge_ranked(ranked: Sequence[Unit]) -> list[Unit]:
    """Units of one place, most important first, merged until importance for the price never rises down the list.

    Measured times grow in steps: a unit may cost nothing after one that cost twice. Merged with it, the two
    are weighed as what they are, one purchase, and a greedy choice never takes a later unit before an earlier.
    """
    merged: list[Unit] = []
    for unit in ranked:
        while merged and unit.importance * merged[-1].price > merged[-1].importance * unit.price:
            last = merged.pop()
            unit = replace(
                last,
                channels=last.channels + unit.channels,
                importance=last.importance + unit.importance,
                price=last.price + unit.price,
            )
        merged.append(unit)
    return merged
