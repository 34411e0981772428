"""The time of day jumps an hour forth and two back, under load; the machine's own clock is not touched.

By a library of forty lines that is compiled here and loaded into the server. Not by Debian's libfaketime: told to
leave the monotonic clock alone, 0.9.10 lets every `time.sleep` of Python 3.11 fail with EINVAL.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from benchmarks.faults.row import Counts, NotHereError, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Stand, is_ready
from benchmarks.faults.traffic import tally, traffic

SOURCE = Path(__file__).parent / "clock_step.c"
HOUR = 3600


def library(folder: Path) -> Path:
    """Compile it; raises `NotHereError` without a compiler."""
    made = folder / "clock_step.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NotHereError("there is no C compiler; try: apt-get install gcc")
    done = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotHereError(f"{SOURCE.name} does not compile: {done.stderr.strip().splitlines()[-1]}")
    return made


def jump(stand: Stand, subject: Subject) -> Counts:
    """Forth, then back, at half of peak."""
    offset = stand.folder / f"clock-{subject.kind}"
    offset.write_bytes(struct.pack("l", 0))
    environment = {"LD_PRELOAD": str(library(stand.folder)), "CLOCK_STEP": str(offset)}
    step = stand.seconds(10.0, 2.0)
    with stand.serve(subject, environment=environment) as running:
        requests = stand.requests(running, ms=5.0)
        rate = stand.half(running, requests)
        with traffic(running.url, requests, rate=rate, seconds=3 * step, timeout=5.0) as load:
            for number, seconds in enumerate((HOUR, -HOUR), start=1):
                load.sleep_until(number * step)
                with offset.open("r+b") as file:
                    file.write(struct.pack("l", seconds))
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
