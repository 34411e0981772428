"""The shapes that an engine is built for: the least, the best and the most of every input, from the data's own.

TensorRT chooses kernels for the best shape and takes any between the other two. Two profiles are made: one row
alone, as most requests come, as long as the median row; and rows together, as long as the longest of so many rows
mostly is. An axis that nothing bounds has no profile, and is refused.
Source: NVIDIA TensorRT, "Working with Dynamic Shapes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import ArtifactError, InputError, RecipeError
from toolkit.spec import Input, Spec

BATCH = "batch"
MAX_BATCH, BEST_BATCH = 256, 32
LONG = 95  # the percentile of lengths that a batch of many rows is as long as
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Range:
    """Sizes of one input, each (axes,): TensorRT's min, opt and max."""

    least: Shape
    best: Shape
    most: Shape

    def holds(self, shape: Shape) -> bool:
        """True for a shape that an engine of this profile takes."""
        return len(shape) == len(self.least) and all(
            low <= size <= high for low, size, high in zip(self.least, shape, self.most, strict=True)
        )


@dataclass(frozen=True)
class Profile:
    """A range for each input, by its name."""

    ranges: Mapping[str, Range]

    def holds(self, shapes: Mapping[str, Shape]) -> bool:
        """True when every input's shape is within its range."""
        return all(allowed.holds(shapes[name]) for name, allowed in self.ranges.items())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: name -> [min, opt, max]."""
        return {
            name: [list(allowed.least), list(allowed.best), list(allowed.most)]
            for name, allowed in sorted(self.ranges.items())
        }

    @classmethod
    def from_json(cls, value: Any) -> Profile:
        """The inverse of `to_json`; raises `ArtifactError` when the value has another form."""
        try:
            ranges = {str(name): Range(*(tuple(map(int, shape)) for shape in shapes)) for name, shapes in value.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(f"the profiles of this artifact cannot be read: {error!r}; build it again") from None
        return cls(ranges)


def derive_profiles(
    spec: Spec, *, lengths: Sequence[int] = (), max_batch: int = MAX_BATCH, best_batch: int = BEST_BATCH
) -> tuple[Profile, ...]:
    """A profile for one row and, unless `max_batch` is 1, one for many; `lengths` are those of the data's rows.

    Without lengths the longest that the spec allows counts as the usual one. Raises `InputError` for an axis that
    varies without a limit, `RecipeError` for batches out of order.
    """
    if not 1 <= best_batch <= max(max_batch, best_batch) or max_batch < 1:
        raise RecipeError(f"batches are best {best_batch}, most {max_batch}; allowed: 1 or more, the best within")
    axes = {axis for declared in spec.inputs for axis in declared.shape if isinstance(axis, str)} - {BATCH}
    if free := sorted(axes - set(spec.limits)):
        raise InputError(f"axis {free[0]!r} varies and nothing bounds it, so no engine can be built; give it a limit")
    bounds = {axis: (max(spec.limits[axis][0], 1), max(spec.limits[axis][1], 1)) for axis in axes}
    usual = {axis: _within(_percentile(lengths, 50, high), low, high) for axis, (low, high) in bounds.items()}
    longest = {axis: _within(_percentile(lengths, LONG, high), low, high) for axis, (low, high) in bounds.items()}
    profiles = [_profile(spec.inputs, bounds, usual, (1, 1, 1))]
    if max_batch > 1:
        profiles.append(_profile(spec.inputs, bounds, longest, (1, min(best_batch, max_batch), max_batch)))
    return tuple(profiles)


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int:
    """Place of the first profile that takes these shapes; raises `InputError` naming what none takes."""
    for place, profile in enumerate(profiles):
        if profile.holds(shapes):
            return place
    largest = {name: allowed.most for name, allowed in profiles[-1].ranges.items()}
    raise InputError(f"shapes are {dict(shapes)}; this engine was built for {largest} at most: send fewer rows")


def _profile(
    inputs: Sequence[Input], bounds: Mapping[str, tuple[int, int]], best: Mapping[str, int],
    batch: tuple[int, int, int],
) -> Profile:  # fmt: skip
    sizes = {axis: (low, best[axis], high) for axis, (low, high) in bounds.items()} | {BATCH: batch}

    def at(declared: Input, place: int) -> Shape:
        return tuple(axis if isinstance(axis, int) else sizes[axis][place] for axis in declared.shape)

    return Profile({declared.name: Range(*(at(declared, place) for place in range(3))) for declared in inputs})


def _percentile(lengths: Sequence[int], share: int, otherwise: int) -> int:
    return int(np.ceil(np.percentile(lengths, share))) if len(lengths) else otherwise


def _within(size: int, low: int, high: int) -> int:
    return min(max(size, low), high)
