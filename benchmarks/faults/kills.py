"""Workers killed under load: replaced within three seconds, or the server says that it is not ready.

What was in the dead worker's hands is lost by any server; what counts is how long nobody answers, and whether the
probes say so. A supervisor that looks every ten seconds leaves a listening socket that answers nothing.
"""

from __future__ import annotations

import signal
import time

from benchmarks.faults.row import PLAIN, Counts, Row, Subject, misses
from benchmarks.faults.stand import Running, Stand, is_ready
from benchmarks.faults.traffic import ask_once, tally, traffic
from toolkit.measure.load import Request
from toolkit.measure.load_samples import Samples

BAR = 3.0
GIVE_UP = 20.0


def kill_workers(stand: Stand, subject: Subject, *, times: int) -> Counts:
    """SIGKILL to every worker under load, `times` in a row, each when the one before is healed."""
    with stand.serve(subject) as running:
        requests = stand.requests(running)
        rate = stand.half(running, requests)
        before = stand.seconds(20.0 if times == 1 else 5.0, 2.0)
        seconds = before + times * stand.seconds(14.0, 8.0)
        killed, gaps, hung, lied = 0, [], 0, 0
        with traffic(running.url, requests, rate=rate, seconds=seconds, timeout=5.0) as load:
            load.sleep_until(before)
            for _ in range(times):
                killed += len(running.family.send(signal.SIGKILL))
                gap, silent, wrong_word = _gap(running, requests[0])
                gaps.append(gap)
                hung, lied = hung + silent, lied + wrong_word
                time.sleep(1.0)
            samples = load.samples
        after = samples.between(seconds - 1.0, seconds)
        return {
            "rate": round(rate, 1),
            "killed": killed,
            "unanswered_for_s": gaps,
            "probes_hung": hung,
            "ready_while_dead": lied,
            "right_by_second": [round(part.success_rate, 2) for part in _seconds(samples)],
            "right_in_the_last_second": round(after.success_rate, 4),
            **tally(samples),
        }


def _seconds(samples: Samples) -> list[Samples]:
    return [samples.between(second, second + 1) for second in range(int(samples.seconds))]


def _gap(running: Running, request: Request) -> tuple[float | None, int, int]:
    """Seconds until a right answer, probes of /readyz without an answer meanwhile, and probes that said ready."""
    started = time.perf_counter()
    hung = lied = 0
    time.sleep(0.02)
    while (gap := time.perf_counter() - started) < GIVE_UP:
        asked = time.perf_counter()
        status = is_ready(running.port)
        if ask_once(running.port, request, timeout=0.5) == 200:
            return round(gap, 2), hung, lied
        # a refused connection says at once that nobody is there
        hung += status == 0 and time.perf_counter() - asked > 0.4
        lied += status == 200
        time.sleep(0.02)
    return None, hung, lied


def judge_kills(counts: Counts) -> list[str]:
    """Each gap within the bar, or honest probes; nothing wrong; normal at the end."""
    gaps = counts["unanswered_for_s"]
    quick = all(gap is not None and gap <= BAR for gap in gaps)
    honest = counts["probes_hung"] == 0 and counts["ready_while_dead"] == 0
    return misses(
        (counts["killed"] >= len(gaps), "no worker was killed"),
        (quick or honest, f"unanswered for {gaps} s, {counts['probes_hung']} probes hung"),
        (None not in gaps, f"not replaced within {GIVE_UP:g} s"),
        (counts["wrong"] == 0, f"{counts['wrong']} wrong"),
        (counts["right_in_the_last_second"] >= 0.99 or not quick, "not normal at the end"),
    )


def kill_one(stand: Stand, subject: Subject) -> Counts:
    """One kill."""
    return kill_workers(stand, subject, times=1)


def kill_all(stand: Stand, subject: Subject) -> Counts:
    """All of them, three times in a row."""
    return kill_workers(stand, subject, times=3)


ROWS = (
    Row("worker killed", "SIGKILL to the worker under half of peak", "answers within 3 s, or is not ready; 0 wrong",
        kill_one, judge_kills, PLAIN),
    Row("all workers killed", "SIGKILL to every worker, three times in a row",
        "answers within 3 s each time, or is not ready; 0 wrong", kill_all, judge_kills, PLAIN, quick=False),
)  # fmt: skip
