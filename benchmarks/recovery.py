"""What is usual of a server before a flood: the share that is right and in time, by half seconds.

A machine that stands still now and then is not normal without a flood either, so what is usual is measured first,
under the same load: normal is no worse than the worst half second of that, and `RECOVERED` at most.
"""

from __future__ import annotations

from toolkit.measure.load_samples import Samples

RECOVERED = 0.99  # share of right answers within the objective in half a second that is called normal
HALF = 0.5


def halves(samples: Samples, objective_ms: float) -> list[float]:
    """The share right and in time of what was due in each half second; 1 where nothing was."""
    good = samples.right & (samples.latency_ms <= objective_ms)
    found = []
    for half in range(int(samples.seconds / HALF)):
        due = (samples.scheduled >= half * HALF) & (samples.scheduled < (half + 1) * HALF)
        found.append(float(good[due].mean()) if due.any() else 1.0)
    return found


def usual_share(before: Samples, objective_ms: float) -> float:
    """What half a second is normal from on, by a load without a flood."""
    return min([RECOVERED, *halves(before, objective_ms)])
