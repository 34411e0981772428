"""Can the generators be believed: a server is stopped for a second of eight, and the reported p99 must show it.

Every eighth request or so falls into the stall and waits half a second at the median, so the true p99
of all that were due is nearly the whole second. A generator that waits for the server before it asks
again, or counts from when it could send, reports a few milliseconds: it is unfit. Our open arrivals
and LoadGen's are tested, each also before the stall, where the same p99 would be a machine that is too
busy to measure on. A closed loop goes through the same judge, and must not pass: a judge that passes
everything finds nothing.

What the generators cost is measured along the way: the p50 of a server that does nothing.
Source: G. Tene, "How not to measure latency".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.errors import RecipeError
from toolkit.measure.load import Request, run_closed, run_open
from toolkit.measure.load_samples import Samples
from toolkit.measure.loadgen import run_loadgen
from toolkit.measure.null_server import BODY, NullServer, Stall
from toolkit.progress import Progress, silent

SECONDS = 8.0
STALL_SECONDS = 1.0
RATE = 200.0  # a second: a p99 needs 1,000 samples
COST_SECONDS = 2.0
LEAST_SHARE = 0.5  # of the stall, which the p99 must reach
OURS, LOADGEN, CLOSED = "open arrivals", "LoadGen", "closed loop"
_CONNECTIONS = 64


@dataclass(frozen=True)
class Sighting:
    """What one generator reported: p99 over the whole run, and p90 of what was due before the stall."""

    p99_ms: float | None
    before_p90_ms: float | None
    asked: int
    success_rate: float
    valid: bool

    @classmethod
    def of(cls, samples: Samples, stall: Stall) -> Sighting:
        """From a run and the stall in it."""
        before = samples.between(0, stall.began - samples.start)
        return cls(
            samples.percentile_ms("p99_ms"), before.percentile_ms("p90_ms"), len(samples), samples.success_rate,
            samples.valid,
        )  # fmt: skip


def judge(sighting: Sighting, stall_ms: float) -> str:
    """Why this generator is unfit, in words; empty when its p99 shows the stall and nothing but the stall."""
    least = LEAST_SHARE * stall_ms
    if sighting.p99_ms is None or sighting.before_p90_ms is None:
        return f"{sighting.asked} requests, {sighting.success_rate:.1%} of them answered right, are too few for a p99"
    if sighting.before_p90_ms >= least:
        return f"p90 was {sighting.before_p90_ms:.0f} ms before the stall: this machine is too busy to tell"
    if sighting.p99_ms < least:
        return f"p99 is {sighting.p99_ms:.1f} ms, under {least:.0f}: the stall is hidden"
    return ""


@dataclass(frozen=True)
class SelfTest:
    """`sightings` by generator; `cost_ms` is each one's p50 of a server that does nothing, over one connection."""

    seconds: float
    stall_seconds: float
    rate: float
    sightings: Mapping[str, Sighting]
    cost_ms: Mapping[str, float | None]

    @property
    def failures(self) -> tuple[str, ...]:
        """What makes the generators, or their judge, unfit; empty when they are fit."""
        verdicts = {name: judge(seen, 1e3 * self.stall_seconds) for name, seen in self.sightings.items()}
        found = [f"{name}: {verdicts[name]}" for name in (OURS, LOADGEN) if verdicts[name]]
        closed = self.sightings[CLOSED]
        if not verdicts[CLOSED]:
            found.append(f"{CLOSED}: passed, though it cannot see a stall; the judge finds nothing")
        elif closed.p99_ms is None or closed.p99_ms >= LEAST_SHARE * 1e3 * self.stall_seconds:
            found.append(f"{CLOSED}: {verdicts[CLOSED]}; it must be caught for hiding the stall, or nothing is shown")
        return tuple(found)

    @property
    def passed(self) -> bool:
        """True when both generators show the stall and the closed loop is caught."""
        return not self.failures

    @property
    def words(self) -> tuple[str, ...]:
        """A line on each generator, on their cost, and the verdict last."""
        lines = [f"a server that does nothing, stopped for {self.stall_seconds:g} s of {self.seconds:g}:"]
        for name, seen in self.sightings.items():
            why = judge(seen, 1e3 * self.stall_seconds)
            said = why or f"p99 is {seen.p99_ms:.0f} ms: the stall is seen"
            slipped = "" if seen.valid else "; its schedule slipped, so nothing else may be read from it"
            lines.append(f"{name}: {said}{' (as it must be)' if name == CLOSED and why else ''}{slipped}")
        costs = ", ".join(f"{name} {'-' if cost is None else f'{cost:.3f}'}" for name, cost in self.cost_ms.items())
        lines.append(f"p50 of that server over one connection, in ms, which is what the generator costs: {costs}")
        return (*lines, "the generators are fit" if self.passed else f"UNFIT: {'; '.join(self.failures)}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed, "failures": list(self.failures), "seconds": self.seconds,
            "stall_seconds": self.stall_seconds, "rate": self.rate,
            "sightings": {name: asdict(seen) for name, seen in self.sightings.items()}, "cost_ms": dict(self.cost_ms),
        }  # fmt: skip


def run_self_test(
    *,
    seconds: float = SECONDS,
    stall_seconds: float = STALL_SECONDS,
    rate: float = RATE,
    seed: int = 0,
    progress: Progress = silent,
) -> SelfTest:
    """Half a minute at the usual settings; server and generators on a core each where there are two.

    Raises `RecipeError` for a stall that is longer than half the run, or a run of too few requests for a
    p99; `MissingExtra` without LoadGen.
    """
    if not 0 < stall_seconds <= seconds / 2 or not rate * seconds >= 1200:
        raise RecipeError(
            f"a stall of {stall_seconds} s in {seconds} s at {rate} requests a second tests nothing; the stall must be "
            "half of the run at most, and rate times seconds 1,200 at least"
        )
    requests = [Request("/", b"{}", check=BODY.__eq__)]
    after = 0.375 * seconds
    cost_ms: dict[str, float | None] = {}
    sightings: dict[str, Sighting] = {}
    with _cores() as core, NullServer(core=core) as server:
        costs = min(COST_SECONDS, seconds / 4)
        alone = run_closed(server.url, requests, connections=1, seconds=costs)
        cost_ms["ours"] = alone.percentile_ms("p50_ms")
        progress("self-test", 1, 5, "cost")
        single = run_loadgen("single_stream", server.url, requests, seconds=costs, seed=seed)
        cost_ms[LOADGEN] = single.samples.percentile_ms("p50_ms")
        progress("self-test", 2, 5, "cost")
        with server.stalled(after=after, seconds=stall_seconds) as stall:
            seen = run_open(server.url, requests, rate=rate, seconds=seconds, connections=_CONNECTIONS, seed=seed)
        sightings[OURS] = Sighting.of(seen, stall)
        progress("self-test", 3, 5, OURS)
        # it warms up and gets ready for as long as it likes: its seconds count from its first query
        begin = threading.Event()
        with server.stalled(after=after, seconds=stall_seconds, begin=begin) as stall:
            given = run_loadgen(
                "server", server.url, requests, seconds=seconds, rate=rate, seed=seed, connections=_CONNECTIONS,
                on_begin=begin.set,
            )  # fmt: skip
        sightings[LOADGEN] = Sighting.of(given.samples, stall)
        progress("self-test", 4, 5, LOADGEN)
        with server.stalled(after=after, seconds=stall_seconds) as stall:
            waited = run_closed(server.url, requests, connections=1, seconds=seconds, seed=seed)
        sightings[CLOSED] = Sighting.of(waited, stall)
        progress("self-test", 5, 5, CLOSED)
    return SelfTest(seconds, stall_seconds, rate, sightings, cost_ms)


@contextmanager
def _cores() -> Iterator[int | None]:
    """This thread and its children on the last core allowed; gives the first, for the server. None with only one."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(allowed) < 2:
        yield None
        return
    os.sched_setaffinity(0, {allowed[-1]})
    try:
        yield allowed[0]
    finally:
        os.sched_setaffinity(0, allowed)
