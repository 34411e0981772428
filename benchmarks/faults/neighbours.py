"""One bad row among twenty good requests that may share a batch."""

from __future__ import annotations

import asyncio
import json

from benchmarks.faults.row import PLAIN, Counts, Row, Subject, misses
from benchmarks.faults.stand import Stand
from benchmarks.faults.traffic import ask_at_once, is_right
from toolkit.measure.load import Request

GOOD = 20
BAD = ""  # a string to JSON and to any schema, but no text: the encoder refuses it


def poison(stand: Stand, subject: Subject) -> Counts:
    """Twenty good requests and a bad one in the same moment, several times."""
    with stand.serve(subject, artifact=stand.small) as running:
        good = stand.requests(running, artifact=stand.small)
        bad = Request(running.path, json.dumps({"inputs": [BAD]}).encode())
        asked = [good[i % len(good)] for i in range(GOOD)]
        asked.insert(GOOD // 2, bad)
        rounds = round(stand.seconds(20, 5))
        right = failed = wrong = 0
        of_bad: dict[str, int] = {}
        for _ in range(rounds):
            for request, reply in zip(asked, asyncio.run(ask_at_once(running.url, asked, timeout=10.0)), strict=True):
                if request is bad:
                    of_bad[str(reply.status)] = of_bad.get(str(reply.status), 0) + 1
                elif is_right(request, reply):
                    right += 1
                else:
                    failed, wrong = failed + 1, wrong + (reply.status == 200)
        return {
            "rounds": rounds,
            "good": GOOD * rounds,
            "right": right,
            "failed": failed,
            "wrong": wrong,
            "bad": of_bad,
        }


def judge_poison(counts: Counts) -> list[str]:
    """Good ones right, the bad one told that it is bad."""
    told = sum(count for status, count in counts["bad"].items() if status in ("400", "422"))
    return misses(
        (counts["right"] == counts["good"], f"{counts['failed']} of {counts['good']} good ones failed"),
        (told == counts["rounds"], f"the bad row got {counts['bad']}"),
    )


ROWS = (
    Row("poison in a batch", "1 bad row among 20 good requests in the same moment", "20 of 20 right; the bad one 4xx",
        poison, judge_poison, PLAIN),
)  # fmt: skip
