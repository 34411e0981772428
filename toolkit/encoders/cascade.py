"""The encoders of a cascade side by side: one example, the arrays that every member reads.

What serving checks a request by and what golden rows are made with. A predictor does not go this way: it
encodes for the large member only the rows that reach it. Never stored: it is made of its members' own files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.encoders import Encoder, encoder_files
from toolkit.routing import join_arrays, join_inputs, join_limits
from toolkit.spec import Array, Input


class CascadeEncoder:
    """Arrays of every member under prefixed names, `small.input_ids` and `large.input_ids`."""

    kind = "cascade"

    def __init__(self, members: Mapping[str, Encoder]) -> None:
        self._members = dict(members)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return join_inputs({name: encoder.inputs for name, encoder in self._members.items()})

    @property
    def limits(self) -> dict[str, tuple[int, int]]:
        return join_limits({name: encoder.limits for name, encoder in self._members.items()})

    def size(self, example: Any) -> int:
        return next(iter(self._members.values())).size(example)

    def encode(self, examples: Sequence[Any]) -> dict[str, Array]:
        return join_arrays({name: encoder.encode(examples) for name, encoder in self._members.items()})

    def files(self) -> dict[str, bytes]:
        return {
            f"{name}/{path}": content
            for name, encoder in self._members.items()
            for path, content in encoder_files(encoder).items()
        }
