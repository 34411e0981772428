"""Who answers a row in a cascade: a small model, and a large one for the rows that the small one is unsure of.

A row is unsure when the two most probable labels are nearer than a threshold: the margin between their
probabilities, after the temperature. It costs a sort of one row and needs no training, and deferral by confidence
often does as well as deferral that is learned (Jitkrittum et al. 2023, arXiv:2307.02764). Limit: a small model
that is wrong and sure of it is never corrected.

Arrays of the members stand side by side under prefixed names (`small.input_ids`, `large.input_ids`), since each
member has an encoder of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from toolkit.spec import Array, Input, Spec

SMALL, LARGE = "small", "large"
MEMBERS = (SMALL, LARGE)
MEASURE = "margin"
DEFER_ALL = 2.0  # a margin is at most 1


@dataclass(frozen=True)
class Router:
    """Rows whose margin is below `threshold` (0: none) go to the large member.

    `share` of the rows that it was chosen on were deferred, and `accuracy` is what the two together had there.
    `within_budget` is False where no threshold kept the drop that was allowed, and this is the best there was.
    """

    threshold: float
    share: float
    accuracy: float
    within_budget: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold >= 0.0):
            raise ValueError(f"threshold {self.threshold} is not a number from 0 up")
        if not 0.0 <= self.share <= 1.0 or not 0.0 <= self.accuracy <= 1.0:
            raise ValueError(f"share {self.share} or accuracy {self.accuracy} is not from 0 to 1")

    def unsure(self, probabilities: Array) -> list[int]:
        """Rows to defer, of probabilities (rows, classes); one that is no number is unsure too."""
        found = []
        # plain floats: on the one row of a request, five calls of numpy would cost four times as much
        for position, row in enumerate(probabilities.tolist()):
            first = max(row)
            row.remove(first)
            if not first - max(row) >= self.threshold:
                found.append(position)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the form in `artifact.json`."""
        return {"measure": MEASURE, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Router:
        """The inverse of `to_json`; raises `KeyError`, `TypeError` or `ValueError` for another form."""
        if value["measure"] != MEASURE:
            raise ValueError(f"measure {value['measure']!r} is unknown")
        numbers = [value[name] for name in ("threshold", "share", "accuracy")]
        if not all(type(number) in (int, float) for number in numbers) or type(value["within_budget"]) is not bool:
            raise ValueError("the router holds something that is not a number")
        threshold, share, accuracy = map(float, numbers)
        return cls(threshold, share, accuracy, within_budget=value["within_budget"])


def margins(probabilities: Array) -> Array:
    """Float64 (rows,): how much more probable the first label is than the second, from 0 to 1."""
    ordered = np.sort(probabilities, axis=1)
    difference: Array = ordered[:, -1] - ordered[:, -2]
    return difference


def join_inputs(members: Mapping[str, Iterable[Input]]) -> tuple[Input, ...]:
    """The inputs of all members under prefixed names; every axis but "batch" is the member's own."""
    return tuple(
        Input(f"{name}.{declared.name}", declared.dtype, tuple(_axis(name, axis) for axis in declared.shape))
        for name, inputs in members.items()
        for declared in inputs
    )


def join_limits(members: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """The limits of all members under prefixed names of axes."""
    return {f"{name}.{axis}": bounds for name, limits in members.items() for axis, bounds in limits.items()}


def join_arrays(members: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays of all members under prefixed names."""
    return {f"{name}.{key}": array for name, arrays in members.items() for key, array in arrays.items()}


def arrays_of(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of one member under its own names."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def join_specs(members: Mapping[str, Spec]) -> Spec:
    """The contract of a cascade: the inputs of all, the task and labels that the first has."""
    first = next(iter(members.values()))
    return Spec(
        task=first.task,
        inputs=join_inputs({name: spec.inputs for name, spec in members.items()}),
        labels=first.labels,
        limits=join_limits({name: spec.limits for name, spec in members.items()}),
    )


def _axis(name: str, axis: int | str) -> int | str:
    return axis if isinstance(axis, int) or axis == "batch" else f"{name}.{axis}"
