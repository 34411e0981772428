"""What a bench measures, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.measure.served_rungs import LONGEST_PROBE

OBJECTIVE_MS = 100.0


@dataclass(frozen=True)
class Plan:
    """What is measured and for how long; `data` is what the rows were called, for the file.

    `seconds` are for each artifact on each rung, and for each step of open arrivals; `probe_seconds` for each rate
    that is tried on the way to the peak. A load that needs longer for a p99 gets up to `longest_probe` seconds.
    """

    data: str
    seconds: float = 10.0
    rounds: int = 5
    threads: int = 1
    ladder: bool = False
    objective_ms: float = OBJECTIVE_MS
    scenarios: tuple[str, ...] = ()
    price_per_hour: float | None = None
    seed: int = 0
    probe_seconds: float = 3.0
    longest_probe: float = LONGEST_PROBE
