"""More than can be served: two, five and ten times the peak, and two hundred requests in one moment."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import numpy as np

from benchmarks.faults.row import Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand
from benchmarks.faults.traffic import ask_at_once, is_right, p99_ms, recovery_seconds, right_of, tally
from toolkit.measure.load import run_closed, run_open

OBJECTIVE_MS = 250.0
REFUSAL_MS = 50.0
HEAVY_MS = 8.0  # so that ten times the peak can be offered from one core
SETTINGS = {"TOOLKIT_OBJECTIVE_MS": f"{OBJECTIVE_MS:g}"}


def overload(stand: Stand, subject: Subject, *, times: int) -> Counts:
    """Open arrivals at `times` the peak, then at half of it; the peak beside, since machines change their pace."""
    with stand.serve(subject) as running:
        requests = stand.requests(running, ms=HEAVY_MS)
        seconds = stand.seconds(10.0, 4.0)

        def closed() -> float:
            return run_closed(running.url, requests, connections=16, seconds=stand.seconds(4.0, 1.0)).rate()

        run_closed(running.url, requests, connections=4, seconds=0.3)
        before = closed()
        flood = run_open(running.url, requests, rate=before * times, seconds=seconds, connections=512, timeout=5.0)
        peak = (before + closed()) / 2
        ebb = run_open(running.url, requests, rate=peak / 2, seconds=stand.seconds(8.0, 6.0), timeout=5.0)
        refused = flood.refused
        return {
            "peak": round(peak, 1),
            "peak_before": round(before, 1),
            "offered": round(before * times, 1),
            "goodput": round(flood.rate(OBJECTIVE_MS), 1),
            "goodput_of_peak": round(flood.rate(OBJECTIVE_MS) / peak, 3) if peak else 0.0,
            **tally(flood),
            "refusal_p99_ms": p99_ms(flood.latency_ms[refused]),
            "without_retry_after": int((refused & ~flood.retry_after).sum()),
            "normal_after_s": recovery_seconds(ebb, 0.0, limit_ms=OBJECTIVE_MS),
            "generator_kept_up": flood.valid,
        }


def judge_overload(counts: Counts) -> list[str]:
    """Goodput, admitted, refused, afterwards."""
    p99, refusal, after = counts["p99_ms"], counts["refusal_p99_ms"], counts["normal_after_s"]
    return misses(
        (counts["goodput_of_peak"] >= 0.9, f"goodput {counts['goodput_of_peak']:.2f} of peak"),
        (p99 is not None and p99 <= OBJECTIVE_MS, f"p99 of admitted {p99} ms"),
        (counts["refused"] > 0, "nothing was refused"),
        (refusal is None or refusal < REFUSAL_MS, f"p99 of refusals {refusal} ms"),
        (counts["without_retry_after"] == 0, f"{counts['without_retry_after']} refusals without Retry-After"),
        (counts["unanswered"] + counts["wrong"] + counts["other"] == 0,
         f"{counts['unanswered']} unanswered, {counts['wrong']} wrong, {counts['other']} of another status"),
        (after is not None and after <= 5.0, f"normal again after {after} s"),
    )  # fmt: skip


def burst(stand: Stand, subject: Subject) -> Counts:
    """Two hundred requests in one moment, five times."""
    with stand.serve(subject) as running:
        light, requests = stand.requests(running), stand.requests(running, ms=HEAVY_MS)
        asked = [requests[i % len(requests)] for i in range(200)]
        right, refused, statuses, bare = [], [], [], 0
        for _ in range(5):
            started = time.perf_counter()
            replies = asyncio.run(ask_at_once(running.url, asked, timeout=10.0))
            for request, reply in zip(asked, replies, strict=True):
                took = (reply.finished - started) * 1e3
                statuses.append(reply.status if reply.status != 200 or is_right(request, reply) else -200)
                right += [took] if statuses[-1] == 200 else []
                refused += [took] if reply.status in (429, 503) else []
                bare += reply.status in (429, 503) and not reply.retry_after
            time.sleep(0.5)
        return {
            "asked": len(statuses),
            "right": len(right),
            "wrong": statuses.count(-200),
            "refused": len(refused),
            "unanswered": statuses.count(0),
            "p99_ms": p99_ms(np.array(right)),
            "refusal_p99_ms": p99_ms(np.array(refused)),
            "without_retry_after": bare,
            "right_after": right_of(running.port, light[0], 20),
        }


def judge_burst(counts: Counts) -> list[str]:
    """Each is answered within the objective or refused; the moment the sender needs itself is in the times."""
    p99 = counts["p99_ms"]
    return misses(
        (p99 is not None and p99 <= OBJECTIVE_MS, f"p99 of admitted {p99} ms"),
        (counts["right"] + counts["refused"] == counts["asked"], "some were neither answered nor refused"),
        (counts["without_retry_after"] == 0, f"{counts['without_retry_after']} refusals without Retry-After"),
        (counts["wrong"] == 0, f"{counts['wrong']} wrong"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


ROWS = (
    *(
        Row(f"overload {times}x", f"open arrivals at {times} times the peak",
            "goodput >= 90 % of peak; admitted p99 <= 250 ms; refusals < 50 ms with Retry-After; normal within 5 s",
            partial(overload, times=times), judge_overload, sabotaged("unbounded"), SETTINGS, quick=False)
        for times in (2, 5, 10)
    ),
    Row("burst of 200", "200 requests in one moment, five times",
        "each right within 250 ms (p99) or refused with Retry-After; 0 wrong", burst, judge_burst,
        sabotaged("unbounded"), SETTINGS, quick=False),
)  # fmt: skip
