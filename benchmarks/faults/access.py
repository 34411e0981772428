"""Ten thousand wrong keys a second beside one client with the right one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.faults.row import Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand
from benchmarks.faults.traffic import p99_ms, tally
from toolkit.measure.load import open_load
from toolkit.measure.load_samples import Samples
from toolkit.serving.key_file import add_key
from toolkit.serving.serve import Access

RATE, GOOD_RATE = 10_000.0, 20.0
LIMIT_MS = 250.0


def guess(stand: Stand, subject: Subject) -> Counts:
    """Wrong keys as open arrivals, as many as the generator's core can offer."""
    place = stand.folder / f"keys-{subject.kind}.json"
    place.unlink(missing_ok=True)
    key = add_key(place, "good")
    seconds = stand.seconds(10.0, 3.0)
    with stand.serve(subject, access=Access(keys=place)) as running:
        requests = stand.requests(running)

        async def both() -> Sequence[Samples]:
            wrong = [("authorization", "Bearer wrong-" + "0" * 40)]
            right = [("authorization", f"Bearer {key}")]
            return await asyncio.gather(
                open_load(running.url, requests, rate=RATE, seconds=seconds, timeout=5.0, headers=wrong),
                open_load(running.url, requests, rate=GOOD_RATE, seconds=seconds, timeout=5.0, headers=right, seed=1),
            )

        guesses, good = asyncio.run(both())
        told = guesses.status == 401
        return {
            "guesses": len(guesses),
            "guesses_a_second": round(len(guesses) / max(seconds, float(guesses.finished.max()))),
            "let_in": int((guesses.status == 200).sum()),
            "told_401": int(told.sum()),
            "told_otherwise": int((~told).sum()),
            "told_p99_ms": p99_ms(guesses.latency_ms[told]),
            **tally(good),
        }


def judge_guesses(counts: Counts) -> list[str]:
    """None let in or left without an answer; who has a key does not notice."""
    failed, p99 = counts["asked"] - counts["right"], counts["p99_ms"]
    return misses(
        (counts["let_in"] == 0, f"{counts['let_in']} let in"),
        (counts["told_otherwise"] == 0, f"{counts['told_otherwise']} of {counts['guesses']} not told 401"),
        (failed == 0, f"{failed} of {counts['asked']} with the right key failed"),
        (p99 is not None and p99 <= LIMIT_MS, f"p99 with the right key {p99} ms"),
    )


ROWS = (
    Row("wrong keys", "10,000 requests/s with a wrong key beside 20/s with the right one",
        "all 401; with the right key all right, p99 <= 250 ms", guess, judge_guesses, sabotaged("late key")),
)  # fmt: skip
