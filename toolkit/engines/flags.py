"""How an engine is built: what is not in the graph and still changes the answer or the speed.

Precision is not among them: the network is strongly typed, so it is in the graph. TF32 is the exception: a product
of float32 tensors that may round its inputs to 10 bits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from toolkit.errors import RecipeError


@dataclass(frozen=True)
class Flags:
    """`tf32`: products of float32 may round to 10 bits; `sparse`: 2:4 kernels where weights have the pattern.

    `level` is TensorRT's builder optimization level, 0 (quick to build) to 5. Raises `RecipeError` outside it.
    """

    tf32: bool = False
    sparse: bool = False
    level: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 5:
            raise RecipeError(f"level is {self.level}; allowed: 0 (quick to build) to 5 (searches longest)")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
