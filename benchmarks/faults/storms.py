"""Requests that nobody waits for: late ones and left ones cost nothing, and no more run at once than allowed."""

from __future__ import annotations

import asyncio
import socket
import time

from benchmarks.faults.row import Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand
from benchmarks.faults.traffic import ask_at_once, is_right, right_of, tally, traffic
from benchmarks.faults.victims import wait_until_idle, watching_runs
from toolkit.measure.client import Server

MANY = 200
DEADLINE = 0.25
HEAVY_MS = 60.0
ALLOWED = 1
PATIENT = {"TOOLKIT_QUEUE": "512", "TOOLKIT_OBJECTIVE_MS": "1000000", "TOOLKIT_CONCURRENCY": str(ALLOWED)}
HASTY = {**PATIENT, "TOOLKIT_TIMEOUT_SECONDS": str(DEADLINE)}


def storm(stand: Stand, subject: Subject) -> Counts:
    """A hundred heavy requests at once, most of which must be late; three waves."""
    with stand.serve(subject) as running:
        light, heavy = stand.requests(running), stand.requests(running, ms=HEAVY_MS)
        asked = [heavy[i % len(heavy)] for i in range(100)]
        statuses: list[int] = []
        slowest = 0.0
        with watching_runs(running.family.workers()[0].pid) as runs:
            for _ in range(3):
                started = time.perf_counter()
                replies = asyncio.run(ask_at_once(running.url, asked, timeout=10.0))
                slowest = max(slowest, *(reply.finished - started for reply in replies))
                statuses += [
                    reply.status if reply.status != 200 or is_right(request, reply) else -200
                    for request, reply in zip(asked, replies, strict=True)
                ]
            spent = wait_until_idle(running.family, seconds=10.0)
        return {
            "asked": len(statuses),
            "right": statuses.count(200),
            "late": statuses.count(504),
            "refused": statuses.count(503),
            "unanswered": statuses.count(0),
            "wrong": statuses.count(-200),
            "slowest_s": round(slowest, 2),
            "allowed_at_once": ALLOWED,
            **runs,
            "worked_on_s": round(spent, 2),
            "right_after": right_of(running.port, light[0], 20),
        }


def judge_storm(counts: Counts) -> list[str]:
    """Late ones were told so in time, left the queue, and ran one at a time."""
    return misses(
        (counts["late"] > 0, "nothing was late"),
        (counts["most_at_once"] <= counts["allowed_at_once"], f"{counts['most_at_once']} ran at once"),
        (counts["slowest_s"] <= DEADLINE + 0.75, f"the slowest answer took {counts['slowest_s']} s"),
        (counts["worked_on_s"] <= 0.5, f"worked on for {counts['worked_on_s']} s when all had been told"),
        (counts["wrong"] + counts["unanswered"] == 0, f"{counts['wrong']} wrong, {counts['unanswered']} unanswered"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


def disconnect(stand: Stand, subject: Subject) -> Counts:
    """Two hundred clients ask something heavy and leave while they wait; one client stays."""
    with stand.serve(subject) as running:
        light, heavy = stand.requests(running), stand.requests(running, ms=HEAVY_MS)
        server = Server.of(running.url)
        contents = [server.request(r.method, r.path, r.content_type, r.body, ()) for r in heavy]
        # what one costs there: the processor time of a few that are waited for
        before = running.family.processor_seconds()
        asyncio.run(ask_at_once(running.url, [*heavy, *heavy], timeout=30.0))
        each = (running.family.processor_seconds() - before) / (2 * len(heavy))
        with traffic(running.url, light[:1], connections=1, seconds=3.0, timeout=20.0) as load:
            load.sleep_until(1.0)
            sockets = []
            for i in range(MANY):
                connection = socket.create_connection(("127.0.0.1", running.port), timeout=5)
                connection.sendall(contents[i % len(contents)])
                sockets.append(connection)
            time.sleep(0.3)
            for connection in sockets:
                connection.close()
            left = load.samples
        # the one who stayed is answered early only if nobody's work is done before his
        return {
            "left": MANY,
            "each_costs_s": round(each, 3),
            "stayed_slowest_s": round(float((left.finished - left.started).max()), 2),
            "worked_on_s": round(wait_until_idle(running.family, seconds=20.0), 2),
            **tally(left),
            "right_after": right_of(running.port, light[0], 20),
        }


def judge_disconnect(counts: Counts) -> list[str]:
    """The one who stayed does not wait for work that nobody wants."""
    limit = round(0.3 + 0.5 + MANY * counts["each_costs_s"] * 0.1, 2)
    return misses(
        (counts["each_costs_s"] > 0.01, "the requests were too light to tell"),
        (counts["stayed_slowest_s"] <= limit, f"who stayed waited {counts['stayed_slowest_s']} s; bar {limit}"),
        (counts["worked_on_s"] <= 0.5, f"worked on for {counts['worked_on_s']} s"),
        (counts["right"] == counts["asked"], f"{counts['asked'] - counts['right']} of those who stayed not right"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


ROWS = (
    Row("deadline storm", "3 x 100 requests of 60 ms with a deadline of 0.25 s",
        "1 run at once, never more; late ones told within 1 s and dropped; 0 wrong", storm, judge_storm,
        sabotaged("slot not held"), HASTY),
    Row("200 disconnects", "200 clients leave while they wait for 60 ms of work each",
        "who stays waits for less than a tenth of that work; all of theirs right", disconnect, judge_disconnect,
        sabotaged("works for nobody"), PATIENT),
)  # fmt: skip
