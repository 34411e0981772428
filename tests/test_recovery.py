"""What is usual before a flood: by half seconds, late is not right, and never above what is called normal."""

from __future__ import annotations

import numpy as np

from benchmarks.recovery import RECOVERED, halves, usual_share
from toolkit.measure.load_samples import Samples
from toolkit.spec import Array

OBJECTIVE_MS = 100.0


def load(*shares: float, slow: Array | None = None) -> Samples:
    """Two hundred requests in each half second, `shares` of them right, in the order in which they were due."""
    due = np.arange(200 * len(shares)) / 400
    right = np.concatenate([np.arange(200) < round(200 * share) for share in shares])
    taken = np.full(len(due), 0.01) if slow is None else slow
    return Samples(
        scheduled=due, noticed=due, started=due, finished=due + taken, status=np.where(right, 200, 503), right=right,
        retry_after=~right, request=np.zeros(len(due), dtype=np.int64), errors={}, start=0.0, seconds=len(shares) / 2,
    )  # fmt: skip


def test_shares_are_of_half_seconds_and_late_is_not_right() -> None:
    assert halves(load(1.0, 0.5, 0.97), OBJECTIVE_MS) == [1.0, 0.5, 0.97]
    slow = np.full(400, 0.01)
    slow[:20] = 0.2
    assert halves(load(1.0, 1.0, slow=slow), OBJECTIVE_MS) == [0.9, 1.0]
    assert halves(Samples.between(load(1.0, 1.0), 0.0, 0.1), OBJECTIVE_MS) == []


def test_usual_is_the_worst_half_second_and_never_above_what_is_called_normal() -> None:
    assert usual_share(load(1.0, 1.0), OBJECTIVE_MS) == RECOVERED
    assert usual_share(load(1.0, 0.9, 0.97), OBJECTIVE_MS) == 0.9
