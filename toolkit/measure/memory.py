"""What memory allows: the sizes of this processor's caches, and how fast bytes come out of them.

A model of one row reads every weight once. Weights that fit the second-level cache are there from the row
before; larger ones come from further away each time, and below a few rows that sets the pace, not arithmetic.

Limits: cache sizes from /sys, so Linux only (elsewhere empty), and those of the host where a container or a
neighbour has a part of them only; what is timed is a copy by one thread, in its processor time.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
REPEATS = 7


def read_caches(folder: Path = _CACHES) -> dict[int, int]:
    """Bytes of each level that holds data, by level; empty where the system does not say."""
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            kind, level = (index / "type").read_text().strip(), int((index / "level").read_text())
            words = (index / "size").read_text().strip()
            size = int(words.rstrip("KMG")) * _UNITS.get(words[-1], 1)
        except (OSError, ValueError, IndexError):
            continue
        if kind != "Instruction":
            found[level] = size
    return found


def measure_bandwidth(size: int) -> float:
    """Bytes a second of a copy of `size` bytes, read and written both counted; the best of a few.

    `size` decides which cache, or memory, is measured: give what the model touches.
    """
    source = np.ones(max(size, 4096), dtype=np.uint8)
    target = np.zeros_like(source)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.thread_time_ns()
        np.copyto(target, source)
        best = min(best, max(1, time.thread_time_ns() - start))
    return 2 * len(source) / (best / 1e9)
