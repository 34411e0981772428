"""The time of day jumps an hour forth and two back, under load; by Debian's libfaketime where it is installed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.row import Counts, NotHereError, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand, is_ready
from benchmarks.faults.traffic import tally, traffic

HOUR = 3600


def library() -> Path:
    """libfaketime of this machine; raises `NotHereError`."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise NotHereError("libfaketime is not installed; try: apt-get install libfaketime")
    return found[0]


def jump(stand: Stand, subject: Subject) -> Counts:
    """Forth, then back, at half of peak; the monotonic clock goes on as it does when an administrator does it."""
    preload = library()
    stamp = stand.folder / f"clock-{subject.kind}"
    stamp.write_text("+0")
    environment = {
        "LD_PRELOAD": str(preload),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    step = stand.seconds(10.0, 2.0)
    with stand.serve(subject, environment=environment) as running:
        requests = stand.requests(running)
        rate = stand.half(running, requests)
        with traffic(running.url, requests, rate=rate, seconds=3 * step, timeout=5.0) as load:
            for number, offset in enumerate((HOUR, -HOUR), start=1):
                load.sleep_until(number * step)
                stamp.write_text(f"{offset:+d}")
            samples = load.samples
        return {"jumps": 2, **tally(samples), "ready_after": is_ready(running.port)}


def judge_jump(counts: Counts) -> list[str]:
    """No request may notice."""
    failed = counts["asked"] - counts["right"]
    return misses(
        (failed == 0, f"{failed} of {counts['asked']} requests failed"),
        (counts["ready_after"] == 200, f"/readyz says {counts['ready_after']}"),
    )


ROWS = (
    Row("clock step", "the time of day an hour forth and two back at half of peak", "0 failures", jump, judge_jump,
        sabotaged("wall clock"), quick=False),
)  # fmt: skip
