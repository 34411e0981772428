"""SIGTERM under load, and a process that stands still for five seconds."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import psutil

from benchmarks.faults.row import PLAIN, Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand, is_ready
from benchmarks.faults.traffic import ask_at_once, is_right, recovery_seconds, tally, traffic

STILL_SECONDS = 5.0
BALANCER_SECONDS = 0.1  # a load balancer probes now and then; until then it goes on sending
LIMIT_MS = 1000.0


def terminate(stand: Stand, subject: Subject) -> Counts:
    """SIGTERM to the server while ordinary requests arrive and a few slow ones are in hand."""
    with stand.serve(subject) as running:
        requests = stand.requests(running)
        slow = stand.requests(running, ms=150)
        rate = stand.half(running, requests)
        before = stand.seconds(20.0, 2.0)
        replies: list[int] = []

        def ask_slow() -> None:
            asked = [slow[i % len(slow)] for i in range(4)]
            answers = asyncio.run(ask_at_once(running.url, asked, timeout=10.0))
            pairs = zip(asked, answers, strict=True)
            replies.extend(a.status if a.status != 200 or is_right(r, a) else -200 for r, a in pairs)

        with traffic(running.url, requests, rate=rate, seconds=before + 2.0, timeout=5.0) as load:
            load.sleep_until(before - 0.2)
            thread = threading.Thread(target=ask_slow)
            thread.start()
            load.sleep_until(before)
            told = time.perf_counter()
            running.family.root.send_signal(signal.SIGTERM)
            said_not_ready: float | None = None
            while said_not_ready is None and time.perf_counter() - told < 3.0:
                if is_ready(running.port) == 503:
                    said_not_ready = time.perf_counter() - told
                time.sleep(0.02)
            thread.join()
            samples = load.samples
        gone, _ = psutil.wait_procs([running.family.root], timeout=20)
        ended = time.perf_counter() - told
        told -= samples.start
        owed = samples.started < told + (said_not_ready or 0.0) + (BALANCER_SECONDS if said_not_ready else 0.0)
        lost = owed & ~(samples.right | samples.refused)
        held = sum(status != 503 for status in replies)
        return {
            "rate": round(rate, 1),
            "in_hand": int(((samples.started < told) & (samples.finished > told)).sum()) + held,
            "owed": int(owed.sum()) + len(replies),
            # 503 is a refusal on its place: the client knows at once that nothing was done
            "lost": int(lost.sum()) + sum(status not in (200, 503) for status in replies),
            "slow_status": replies,
            "lost_asked_at_s": [round(float(at), 3) for at in (samples.started[lost] - told)[:5]],
            "lost_status": [int(status) for status in samples.status[lost][:5]],
            "errors": dict(samples.errors),
            "not_ready_after_s": None if said_not_ready is None else round(said_not_ready, 3),
            "ended": bool(gone),
            "ended_after_s": round(ended, 2),
            "wrong": int(samples.wrong.sum()),
        }


def judge_terminate(counts: Counts) -> list[str]:
    """Not ready first, nothing lost, ended."""
    return misses(
        (counts["in_hand"] > 0, "nothing was in hand"),
        (counts["lost"] == 0, f"{counts['lost']} of {counts['owed']} lost"),
        (counts["not_ready_after_s"] is not None, "the listener closed before it was not ready"),
        (counts["ended"], "did not end within 20 s"),
        (counts["wrong"] == 0, f"{counts['wrong']} wrong"),
    )


def stand_still(stand: Stand, subject: Subject) -> Counts:
    """SIGSTOP to the workers for five seconds under load, then SIGCONT."""
    with stand.serve(subject) as running:
        requests = stand.requests(running)
        rate = stand.half(running, requests)
        before = stand.seconds(20.0, 2.0)
        seconds = before + STILL_SECONDS + stand.seconds(20.0, 7.0)
        with traffic(running.url, requests, rate=rate, seconds=seconds, timeout=10.0) as load:
            load.sleep_until(before)
            stopped = running.family.send(signal.SIGSTOP)
            load.sleep_until(before + STILL_SECONDS)
            running.family.send(signal.SIGCONT)
            samples = load.samples
        again = before + STILL_SECONDS
        return {
            "rate": round(rate, 1),
            "stopped": len(stopped),
            "normal_after_s": recovery_seconds(samples, again, limit_ms=LIMIT_MS),
            **tally(samples),
        }


def judge_still(counts: Counts) -> list[str]:
    """Everybody gets an answer, and it is over soon."""
    after = counts["normal_after_s"]
    return misses(
        (counts["stopped"] > 0, "nothing was stopped"),
        (counts["unanswered"] == 0, f"{counts['unanswered']} unanswered"),
        (counts["wrong"] + counts["other"] == 0, f"{counts['wrong']} wrong, {counts['other']} of another status"),
        (after is not None and after <= 5.0, f"normal again after {after} s"),
    )


ROWS = (
    Row("SIGTERM under load", "SIGTERM at half of peak with slow requests in hand",
        "not ready first; nothing in hand, or sent up to 0.1 s after that, lost", terminate, judge_terminate, PLAIN),
    Row("stopped 5 s", "SIGSTOP to the worker for 5 s at half of peak",
        "every request answered or refused; normal within 5 s; 0 wrong", stand_still, judge_still,
        sabotaged("lost in a pause"), quick=False),
)  # fmt: skip
