"""Half of the peak for minutes: p99 does not rise with uptime, memory, threads and descriptors stay flat.

The control leaks eight kilobytes a request. p99 has 1,000 answers a third at least in the full form; in the quick one
it says little, and the row is for its flat lines.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.faults.row import Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand
from benchmarks.faults.traffic import p99_ms, tally, traffic

RISE = 1.2
SPARE_MB, SPARE_BYTES_A_REQUEST = 8.0, 64.0
SPARE_THREADS, SPARE_DESCRIPTORS = 2, 8


def soak(stand: Stand, subject: Subject) -> Counts:
    """Load, and a census of the workers every half second."""
    seconds = stand.seconds(150.0 if subject.kind == "ours" else 45.0, 15.0)
    with stand.serve(subject) as running:
        requests = stand.requests(running)
        rate = stand.half(running, requests)
        census: list[dict[str, float]] = []
        with traffic(running.url, requests, rate=rate, seconds=seconds, timeout=5.0) as load:
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                census.append(running.family.census())
                time.sleep(0.5)
            samples = load.samples
        third = seconds / 3
        parts = [samples.between(start, start + third) for start in (0.0, third, 2 * third)]
        p99 = [p99_ms(part.latency_ms[part.right]) for part in parts]
        # from the first third on: what is allocated once is no leak
        size = max(1, len(census) // 3)
        early, late = census[size // 2 : size + size // 2], census[-size:]
        growth = {
            key: float(np.median([c[key] for c in late]) - np.median([c[key] for c in early])) for key in early[0]
        }
        between = len(samples) * (len(census) - size) / len(census)
        return {
            "seconds": seconds,
            "rate": round(rate, 1),
            "p99_thirds_ms": p99,
            "p99_rise": None if not p99[0] or not p99[-1] else round(p99[-1] / p99[0], 3),
            "rss_mb": round(census[-1]["rss_mb"], 1),
            "growth": {key: round(value, 2) for key, value in growth.items()},
            "allowed_growth_mb": round(SPARE_MB + between * SPARE_BYTES_A_REQUEST / 1e6, 1),
            **tally(samples),
        }


def judge_soak(counts: Counts) -> list[str]:
    """Flat."""
    rise, growth = counts["p99_rise"], counts["growth"]
    failed = counts["asked"] - counts["right"]
    return misses(
        (rise is not None and rise <= RISE, f"p99 of the last third {rise} times the first"),
        (growth["rss_mb"] <= counts["allowed_growth_mb"], f"memory grew by {growth['rss_mb']} MB"),
        (growth["threads"] <= SPARE_THREADS, f"threads grew by {growth['threads']}"),
        (growth["descriptors"] <= SPARE_DESCRIPTORS, f"descriptors grew by {growth['descriptors']}"),
        (failed == 0, f"{failed} of {counts['asked']} requests failed"),
    )


ROWS = (
    Row("soak", "half of peak for 150 s (15 s in the quick form)",
        "p99 of the last third <= 1.2x the first; memory, threads, descriptors flat; 0 failures", soak, judge_soak,
        sabotaged("leaks"), control_misses="memory grew", quick=False),
)  # fmt: skip
