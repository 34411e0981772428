"""Started again and again: the first answer after ready is right, and ready does not take for ever."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.faults.row import Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import START_SECONDS, Stand, is_ready
from benchmarks.faults.traffic import ask_once

FULL, QUICK, CONTROL = 50, 10, 3


def start_cold(stand: Stand, subject: Subject) -> Counts:
    """Start, probe until ready, ask once; fewer times for the control."""
    times = CONTROL if subject.kind != "ours" else FULL if not stand.quick else QUICK
    ready, first, statuses = [], [], []
    for _ in range(times):
        started = time.perf_counter()
        with stand.serve(subject, until_ready=False) as running:
            request = stand.requests(running)[0]
            while is_ready(running.port, timeout=1.0) != 200:
                if time.perf_counter() - started > START_SECONDS or running.server.process.poll() is not None:
                    break
                time.sleep(0.01)
            ready.append(time.perf_counter() - started)
            asked = time.perf_counter()
            statuses.append(ask_once(running.port, request))
            first.append((time.perf_counter() - asked) * 1e3)
    return {
        "starts": times,
        "first_right": statuses.count(200),
        "ready_p50_s": round(float(np.median(ready)), 2),
        "ready_max_s": round(max(ready), 2),
        "first_p50_ms": round(float(np.median(first)), 2),
        "first_max_ms": round(max(first), 2),
    }


def judge_cold(counts: Counts) -> list[str]:
    """Ready means ready."""
    return misses(
        (
            counts["first_right"] == counts["starts"],
            f"{counts['first_right']} of {counts['starts']} first answers right",
        ),
        (counts["ready_max_s"] < START_SECONDS, f"not ready within {START_SECONDS:g} s"),
    )


ROWS = (
    Row("cold start x50", "50 cold starts (10 in the quick form)", "every first answer after ready is right",
        start_cold, judge_cold, sabotaged("early ready"), quick=False),
)  # fmt: skip
