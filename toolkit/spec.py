"""The contract of a classifier: named input arrays in, logits over named labels out.

A `Spec` is written when a model is trained and is the same in the HTTP request that reaches it in
production. It knows numpy and nothing else: no torch, no ONNX, no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import ArtifactError, InputError

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

TASKS = ("text", "image", "recommend")
DTYPES = ("int64", "float32", "uint8")


@dataclass(frozen=True)
class Input:
    """One named input array; an axis is a fixed size or the name of a size that varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Spec:
    """Inputs, task and labels; logits are float32 of shape (batch, len(labels)).

    `limits` gives, for every varying axis but "batch", its smallest and largest size.
    """

    task: str
    inputs: tuple[Input, ...]
    labels: tuple[str, ...]
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ArtifactError(f"unknown task {self.task!r}; allowed: {', '.join(TASKS)}")
        if len(self.labels) < 2:
            raise ArtifactError(f"a classifier needs two labels or more; got {len(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise ArtifactError("the labels of a classifier must all differ")
        for declared in self.inputs:
            if declared.dtype not in DTYPES:
                raise ArtifactError(
                    f"input {declared.name!r} has dtype {declared.dtype!r}; allowed: {', '.join(DTYPES)}"
                )

    def check(self, arrays: Arrays) -> int:
        """Return the batch size of `arrays`, or raise `InputError` naming the first misfit."""
        expected = {declared.name for declared in self.inputs}
        if set(arrays) != expected:
            raise InputError(f"inputs are {sorted(arrays)}; this model takes {sorted(expected)}")
        sizes: dict[str, int] = {}
        for declared in self.inputs:
            array = arrays[declared.name]
            if array.dtype != np.dtype(declared.dtype):
                raise InputError(f"{declared.name} has dtype {array.dtype}; this model takes {declared.dtype}")
            if array.ndim != len(declared.shape):
                raise InputError(f"{declared.name} has {array.ndim} axes; this model takes {list(declared.shape)}")
            for axis, (size, allowed) in enumerate(zip(array.shape, declared.shape, strict=True)):
                known = sizes.setdefault(allowed, size) if isinstance(allowed, str) else allowed
                if size != known:
                    raise InputError(f"axis {axis} of {declared.name} has size {size}; expected {known}")
        for axis_name, size in sizes.items():
            low, high = self.limits.get(axis_name, (1, size))
            if not max(low, 1) <= size <= high:
                raise InputError(f"{axis_name} is {size}; this model takes {max(low, 1)} to {high}")
        return sizes.get("batch", 1)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the form in `artifact.json`."""
        return {
            "task": self.task,
            "inputs": [{"name": i.name, "dtype": i.dtype, "shape": list(i.shape)} for i in self.inputs],
            "labels": list(self.labels),
            "limits": {axis: list(bounds) for axis, bounds in sorted(self.limits.items())},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Spec:
        """The inverse of `to_json`; raises `ArtifactError` when the value has another form."""
        try:
            return cls(
                task=value["task"],
                inputs=tuple(Input(i["name"], i["dtype"], tuple(i["shape"])) for i in value["inputs"]),
                labels=tuple(value["labels"]),
                limits={axis: (int(low), int(high)) for axis, (low, high) in value["limits"].items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the spec of this artifact cannot be read: {error!r}") from None


def softmax(logits: Array) -> Array:
    """Probabilities of shape (batch, classes) from logits, in float64, stable for large logits."""
    wide = logits.astype(np.float64)
    exp = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Array = exp / exp.sum(axis=-1, keepdims=True)
    return result
