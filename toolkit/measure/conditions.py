"""What was so while something was measured: load before, processor time stolen during, the collector off.

A latency taken on a busy machine is a fact about the neighbours. This does not stop a measurement;
it is written beside it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_STEAL = 7  # column of /proc/stat: user nice system idle iowait irq softirq steal


@dataclass(frozen=True)
class Conditions:
    """Runnable processes in the minute before, and the share of processor time a hypervisor took; None if unknown."""

    load_average: float | None
    steal_share: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection inside, one before; its state afterwards is what it was."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Watch:
    """Make one before measuring, ask `conditions` after."""

    def __init__(self) -> None:
        self._load = _load_average()
        self._ticks = _read_ticks()

    def conditions(self) -> Conditions:
        """The load when this was made, and the steal since."""
        before, after = self._ticks, _read_ticks()
        if before is None or after is None or sum(after) <= sum(before):
            return Conditions(self._load, None)
        return Conditions(self._load, max(0.0, (after[_STEAL] - before[_STEAL]) / (sum(after) - sum(before))))


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not every system counts it
        return None


def _read_ticks() -> list[int] | None:
    try:
        ticks = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return ticks if len(ticks) > _STEAL else None
