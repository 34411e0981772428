"""The whole table, in the order in which it is run."""

from __future__ import annotations

from benchmarks.faults import (
    access,
    attacks,
    clock,
    cold,
    kills,
    limits,
    neighbours,
    overload,
    soak,
    stopping,
    storms,
    versions,
    wire,
)  # fmt: skip
from benchmarks.faults.row import Row

ROWS: tuple[Row, ...] = (
    *kills.ROWS, *stopping.ROWS, *storms.ROWS, *overload.ROWS, *neighbours.ROWS, *versions.ROWS, *attacks.ROWS,
    *limits.ROWS, *wire.ROWS, *access.ROWS, *clock.ROWS, *soak.ROWS, *cold.ROWS,
)  # fmt: skip
