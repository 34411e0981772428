"""What the turns of one rung come to: counts, percentiles with enough samples, thirds, and a histogram to draw.

Raw samples are not kept in result files; a histogram on edges that are the same for everybody (forty to a decade,
each 5.9 % wider than the one before) keeps the shape, and two of them can be laid over each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.measure.bootstrap import MIN_ROUNDS, noise_floor, paired_ratio
from toolkit.measure.load_samples import Samples
from toolkit.measure.samples import percentile_ms
from toolkit.measure.turns import Stretch
from toolkit.spec import Array

PER_DECADE = 40
UNSTEADY = 1.2  # the last third over the first, from where it is said
# name in the file -> name in `samples.PERCENTILES`
NAMES = {"p50_ms": "p50_ms", "p90_ms": "p90_ms", "p99_ms": "p99_ms", "p999_ms": "p99_9_ms"}


def stretch_of(samples: Samples) -> Stretch:
    """The rows of a load run as a turn, in the order finished."""
    nanoseconds = np.rint(samples.latency_ms * 1e6).astype(np.int64)
    return Stretch(nanoseconds, samples.right, int(samples.wrong.sum()))


def rung_json(turns: Sequence[Stretch], again: Sequence[Stretch] = ()) -> dict[str, Any]:
    """The rung of one artifact, in the form of the bench file; `again` are the same artifact's second turns.

    Percentiles are of right answers and None with fewer than ten beyond them. A round without a right answer has no
    median: None stands in its place.
    """
    right = np.concatenate([turn.right for turn in turns])
    times = np.concatenate([turn.nanoseconds for turn in turns])[right]
    third = len(times) // 3
    found: dict[str, Any] = {
        "asked": len(right),
        "right": len(times),
        "wrong": sum(turn.wrong for turn in turns),
        "success_rate": len(times) / len(right) if len(right) else 0.0,
        "samples": len(times),
        **{name: percentile_ms(times.tolist(), known) for name, known in NAMES.items()},
        "mean_ms": float(times.mean()) / 1e6 if len(times) else None,
        "max_ms": float(times.max()) / 1e6 if len(times) else None,
        "rounds_p50_ms": [turn.p50_ms for turn in turns],
        "first_third": {"p50_ms": percentile_ms(times[:third].tolist(), "p50_ms")},
        "last_third": {"p50_ms": percentile_ms(times[len(times) - third :].tolist(), "p50_ms")},
        "histogram": histogram(times / 1e6),
    }
    return found | ({"again_p50_ms": [turn.p50_ms for turn in again]} if again else {})


def histogram(milliseconds: Array) -> dict[str, Any]:
    """Counts between `edges_ms`, which are 10^(k/40) ms for whole k and hold all that was measured."""
    if not len(milliseconds):
        return {"edges_ms": [], "counts": []}
    cells = np.floor(np.log10(np.maximum(milliseconds, 1e-6)) * PER_DECADE).astype(np.int64)
    first, last = int(cells.min()), int(cells.max())
    counts = np.bincount(cells - first, minlength=last - first + 1)
    return {"edges_ms": [10 ** (k / PER_DECADE) for k in range(first, last + 2)], "counts": counts.tolist()}


def compare_rungs(entries: Sequence[Mapping[str, Any]], *, seed: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The noise floor of each rung, and each artifact's time over the first one's, round by round, with its interval.

    A ratio is beyond the noise when its whole interval is, and five rounds or more were measured.
    """
    floors: dict[str, float] = {}
    ratios: list[dict[str, Any]] = []
    first = entries[0]
    for rung, base in first["rungs"].items():
        times, again = base["rounds_p50_ms"], base.get("again_p50_ms", [])
        if not times or None in times or len(again) != len(times) or None in again:
            continue
        floor = floors[rung] = noise_floor(times, again, seed=seed)
        for entry in entries[1:]:
            other = entry["rungs"].get(rung, {}).get("rounds_p50_ms", [])
            if len(other) != len(times) or None in other:
                continue
            found = paired_ratio(other, times, seed=seed)
            known = len(times) >= MIN_ROUNDS and found.beyond(floor)
            names = {"rung": rung, "artifact": entry["name"], "against": first["name"]}
            ratios.append({**names, **found.to_json(), "beyond_noise": known})
    return floors, ratios


def unsteady(rung: Mapping[str, Any]) -> float | None:
    """The median of the last third over that of the first where they differ by a fifth or more, either way."""
    first, last = rung["first_third"].get("p50_ms"), rung["last_third"].get("p50_ms")
    if not first or not last:
        return None
    return last / first if abs(math.log(last / first)) >= math.log(UNSTEADY) else None
