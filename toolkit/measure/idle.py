"""Is this machine idle enough to be measured on? Load average, stolen time, and processes that are busy now.

A number of a busy machine is a fact about the neighbours: OpenMP with two threads beside one other process was seen
to take 442 ms instead of 7. So it is looked at before the clock runs, printed and written into the result.

Limits: /proc, so Linux only (elsewhere nothing is known and nothing is claimed); in a container other containers'
processes are unseen, but their time shows as load and as steal.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.measure.conditions import Watch

PROC = Path("/proc")
LOOK_SECONDS = 0.5
MOST_LOAD = 0.5  # runnable processes a processor, in the minute before
MOST_STEAL = 0.01  # share of processor time
BUSY_SHARE = 0.1  # of one processor: from there on a process disturbs
SHOWN = 5


@dataclass(frozen=True)
class Busy:
    """A process of somebody else, and the share of one processor it used while it was looked at."""

    pid: int
    name: str
    share: float


@dataclass(frozen=True)
class Idleness:
    """What was seen in half a second; None where the system does not tell. `processors` is what there is."""

    load_average: float | None
    steal_share: float | None
    busy: tuple[Busy, ...]
    processors: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not idle, a phrase each; empty when it is."""
        found = [f"process {one.pid} ({one.name}) uses {one.share:.0%} of a processor" for one in self.busy[:SHOWN]]
        if len(self.busy) > SHOWN:
            found.append(f"{len(self.busy) - SHOWN} more processes are busy")
        if self.load_average is not None and self.load_average > MOST_LOAD * self.processors:
            found.append(f"the load average is {self.load_average:.1f} on {self.processors} processors")
        if self.steal_share is not None and self.steal_share > MOST_STEAL:
            found.append(f"the hypervisor takes {self.steal_share:.1%} of the time")
        return tuple(found)

    @property
    def idle(self) -> bool:
        """True when nothing was seen that would disturb."""
        return not self.reasons

    @property
    def words(self) -> str:
        """One sentence for a terminal."""
        if self.reasons:
            return f"this machine is not idle: {'; '.join(self.reasons)}"
        load = "unknown" if self.load_average is None else f"{self.load_average:.2f}"
        steal = "unknown" if self.steal_share is None else f"{self.steal_share:.1%}"
        return f"this machine is idle: load {load}, steal {steal}, no other busy process"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "busy": [asdict(one) for one in self.busy], "idle": self.idle}


def look_around(seconds: float = LOOK_SECONDS) -> Idleness:
    """Watch the machine for `seconds` while this process sleeps; its own family is nobody else."""
    watch, before, started = Watch(), _processor_times(), time.monotonic()
    time.sleep(seconds)
    after, passed = _processor_times(), time.monotonic() - started
    tick, own = os.sysconf("SC_CLK_TCK"), _family(after)
    busy = []
    for pid, (ticks, _, name) in after.items():
        # a process that was not there before started meanwhile: all it used was used now
        share = (ticks - before.get(pid, (0, 0, ""))[0]) / tick / passed
        if pid not in own and share >= BUSY_SHARE:
            busy.append(Busy(pid, name, share))
    seen = watch.conditions()
    busy.sort(key=lambda one: -one.share)
    return Idleness(seen.load_average, seen.steal_share, tuple(busy), os.cpu_count() or 1)


def _family(processes: dict[int, tuple[int, int, str]]) -> set[int]:
    """This process, those that wait for it, and all that descend from it."""
    own, above = {os.getpid()}, os.getpid()
    while (above := processes.get(above, (0, 0, ""))[1]) and above not in own:
        own.add(above)
    below = {os.getpid()}
    while grown := {pid for pid, (_, parent, _) in processes.items() if parent in below} - below:
        below |= grown
    return own | below


def _processor_times() -> dict[int, tuple[int, int, str]]:
    """Ticks used so far, parent and name of every process that can be read."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            line = (folder / "stat").read_text(errors="replace")
            # the name stands in brackets and may hold anything, brackets too
            name, _, rest = line.partition("(")[2].rpartition(")")
            words = rest.split()
            found[int(folder.name)] = (int(words[11]) + int(words[12]), int(words[1]), name)
        except (OSError, ValueError, IndexError):
            continue  # it has ended, or is no process
    return found
