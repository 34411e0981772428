"""One seed for every source of chance, and the state of each, so that a resumed run draws what it would have.

The caller's own states and thread count come back afterwards: training is a function, not a setting.
Equal results need the same machine, the same library versions and the same number of threads.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed torch, numpy and python, and use `threads` threads, inside the block only."""
    states, before = random_states(), torch.get_num_threads()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    if threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        restore_states(states)
        if threads != before:
            torch.set_num_threads(before)


def random_states() -> dict[str, Any]:
    """The three states as tensors, lists and numbers, which `torch.load(weights_only=True)` reads."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }


def restore_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` returned."""
    torch.set_rng_state(states["torch"])
    keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
