"""What a net needs before its first step: an encoder learned from training rows, sizes, a start.

Each task prepares in a file of its own (`texts`, `pictures`, `records`); this one holds what they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from toolkit.encoders import Encoder
from toolkit.errors import RecipeError

SAMPLE = 5000  # training rows that lengths, picture sizes and unknown tokens are measured on


@dataclass(frozen=True)
class Prepared:
    """A net ready to be trained, its encoder, what the lineage must know of the start, and warnings."""

    net: nn.Module
    encoder: Encoder
    start: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = field(default=())


def choose_sizes(net: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """`defaults` with `given` over them; raises `RecipeError` for a size that this net does not have."""
    given = dict(given or {})
    if unknown := sorted(set(given) - set(defaults)):
        raise RecipeError(f"{net} has no size {', '.join(map(repr, unknown))}; allowed: {', '.join(defaults)}")
    return {**defaults, **given}


def sample_rows(examples: Sequence[Any], rows: int = SAMPLE) -> list[Any]:
    """At most `rows` examples, evenly spaced: the same ones every time."""
    step = max(1, -(-len(examples) // rows))
    return [examples[position] for position in range(0, len(examples), step)]
