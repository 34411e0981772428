"""The phases of the serving benchmark: interleaved rounds of all servers, then each server alone.

`Bench.rounds` is what a request costs, at one connection and at sixteen; `Bench.alone` is a long open load, a ladder of
rates and floods with what follows them. What they are for is said in `benchmarks.serving`.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.traffic import recovery_seconds
from benchmarks.ledger import Ledger
from benchmarks.peers.servers import OURS, PEERS, Peer, PeerUnavailableError, Running, running
from benchmarks.recovery import usual_share
from toolkit.artifact import load_artifact
from toolkit.measure.conditions import Watch
from toolkit.measure.load import Request, run_closed, run_open
from toolkit.measure.load_samples import Samples
from toolkit.measure.samples import PERCENTILES, percentile_ms
from toolkit.predictor import Prediction, Predictor

MANY = 16  # connections
CONNECTIONS = 512  # of open arrivals
TIMEOUT = 5.0
WAKE_SECONDS = 0.1
TRIES = 3  # of the long load, while the generator was late by itself; what was measured then is not of the server


@dataclass(frozen=True)
class Plan:
    """Seconds of each phase; `lone` and `many` of each of `rounds`; `repeats` of the long load and floods of ours.

    The long load is `steady` for ours and `steady_others` for everyone else; `beside` a flood the peak is measured.
    """

    rounds: int
    lone: float
    many: float
    steady: float
    step: float
    overload: float
    after: float
    beside: float = 0.0
    repeats: int = 1
    steady_others: float = 0.0


LADDER = (0.25, 0.75, 0.9, 1.0)
OVERLOAD = (2, 5, 10)


@dataclass(frozen=True)
class Case:
    """An artifact, the questions to ask it and the right answers; `alone` has the long phases too."""

    name: str
    artifact: Path
    questions: Sequence[str]
    answers: Sequence[Prediction]
    alone: bool

    def requests(self, peer: Peer) -> list[Request]:
        """What `peer` is asked."""
        return [peer.request(text, right) for text, right in zip(self.questions, self.answers, strict=True)]


@dataclass(frozen=True)
class Bench:
    """One run: how long, on which core the servers stand, where they write, and what they must keep to."""

    plan: Plan
    core: int | None
    folder: Path
    objective_ms: float
    seed: int
    ledger: Ledger

    def start(
        self, peer: Peer, case: Case, objective_ms: float | None = None
    ) -> contextlib.AbstractContextManager[Running]:
        """The peer around the case's artifact."""
        return running(
            peer, case.artifact, case.requests(peer), core=self.core, folder=self.folder, objective_ms=objective_ms
        )

    def run_case(self, case: Case) -> dict[str, Any]:
        """All phases of all servers."""
        rounds = self.ledger.take(f"{case.name}/rounds", lambda: self.rounds(case))
        rows: list[dict[str, Any]] = rounds["servers"]
        ours = next(row for row in rows if row["name"] == OURS)
        for peer, row in zip(PEERS, rows, strict=True):
            if case.alone and peer.alone and "unavailable" not in row and "unavailable" not in ours:
                row |= self.ledger.take(
                    f"{case.name}/{peer.name}",
                    partial(self.alone, case, peer, row["many"]["rate"], ours["many"]["rate"]),
                )
        return {**rounds, "name": case.name, "artifact": _facts(case), "servers": rows}

    def rounds(self, case: Case, objective_ms: float | None = None) -> dict[str, Any]:
        """One connection and sixteen, interleaved between all servers that start; BARE again at each round's end."""
        watch, words = Watch(), dict[str, str]()
        with contextlib.ExitStack() as stack:
            up: list[Running] = []
            for peer in PEERS:
                try:
                    up.append(stack.enter_context(self.start(peer, case, objective_ms)))
                except PeerUnavailableError as error:
                    words[peer.name] = str(error)
            idle = _idle_share(up)
            found: dict[str, list[tuple[Samples, Samples]]] = {}
            for one in up:
                one.pause()
            for number in range(self.plan.rounds):
                order = up[1:] if number % 2 == 0 else up[:0:-1]
                for name, one in [(up[0].peer.name, up[0]), *((one.peer.name, one) for one in order), ("again", up[0])]:
                    found.setdefault(name, []).append(self.turn(case, one))
            memory = {one.peer.name: one.memory_mb() | {"start_seconds": one.start_seconds} for one in up}
        floor = list(zip(found[up[0].peer.name], found["again"], strict=True))
        rows = []
        for peer in PEERS:
            row: dict[str, Any] = {"name": peer.name, "words": peer.words}
            if peer.name in words:
                row["unavailable"] = words[peer.name]
            elif not all(part.right.any() for pair in found[peer.name] for part in pair):
                status = [dict(pair[1].summary()["by_status"]) for pair in found[peer.name]]
                row["unavailable"] = f"a round had no right answer; by status at {MANY} connections: {status}"
            else:
                row |= {**_compared(found[peer.name], floor), "memory": memory[peer.name]}
            rows.append(row)
        return {
            "servers": rows, "noise": _noise(floor),
            "idle_share": idle, "conditions": watch.conditions().to_json(),
        }  # fmt: skip

    def turn(self, case: Case, one: Running) -> tuple[Samples, Samples]:
        """One server awake, the others stopped: one connection, then sixteen, after a moment to wake up."""
        one.resume()
        try:
            self.closed(case, one, 1, WAKE_SECONDS)
            return self.closed(case, one, 1, self.plan.lone), self.closed(case, one, MANY, self.plan.many)
        finally:
            one.pause()

    def closed(self, case: Case, one: Running, connections: int, seconds: float) -> Samples:
        """So many clients, each asks again when it has its answer."""
        return run_closed(
            one.url, case.requests(one.peer), connections=connections, seconds=seconds, timeout=TIMEOUT, seed=self.seed
        )

    def alone(self, case: Case, peer: Peer, peak: float, our_peak: float) -> dict[str, Any]:
        """Half of peak for long, the ladder, and overload with what follows it; on a server freshly started."""
        ours = peer.name == OURS
        repeats, long = (self.plan.repeats, self.plan.steady) if ours else (1, self.plan.steady_others)
        with self.start(peer, case, self.objective_ms) as one:
            watch = Watch()
            self.closed(case, one, MANY, 1.0)
            steady = [self._steady(case, one, 0.5 * peak, long) for _ in range(repeats)]
            ladder = [
                {"share": share, "offered": share * peak}
                | self._open(case, one, share * peak, self.plan.step).summary(self.objective_ms)
                for share in LADDER
            ]
            floods = [[self._flood(case, one, times, our_peak) for times in OVERLOAD] for _ in range(repeats)]
            best = max(step["goodput"] for step in [steady[0], *ladder])
            return {
                "steadies": steady, "ladder": ladder, "overloads": floods,
                "peak_goodput": best, "memory_after": one.memory_mb(), "conditions": watch.conditions().to_json(),
            }  # fmt: skip

    def _open(self, case: Case, one: Running, rate: float, seconds: float) -> Samples:
        return run_open(
            one.url, case.requests(one.peer), rate=rate, seconds=seconds, connections=CONNECTIONS, timeout=TIMEOUT,
            seed=self.seed,
        )  # fmt: skip

    def _steady(self, case: Case, one: Running, rate: float, seconds: float) -> dict[str, Any]:
        for tries in range(1, TRIES + 1):
            found = self._open(case, one, rate, seconds).summary(self.objective_ms) | {"tries": tries}
            if found["valid"]:
                break
        return found

    def _flood(self, case: Case, one: Running, times: int, our_peak: float) -> dict[str, Any]:
        usual = usual_share(self._open(case, one, 0.5 * our_peak, self.plan.after), self.objective_ms)
        # the machine changes its pace within seconds, so the peak is measured right on both sides of a flood
        before = self.closed(case, one, MANY, self.plan.beside).rate(self.objective_ms)
        flood = self._open(case, one, times * our_peak, self.plan.overload)
        ended = flood.start + max(float(flood.finished.max()), self.plan.overload)
        after = self._open(case, one, 0.5 * our_peak, self.plan.after)
        beside = (before + self.closed(case, one, MANY, self.plan.beside).rate(self.objective_ms)) / 2
        back = recovery_seconds(after, 0.0, share=usual, limit_ms=self.objective_ms)
        time.sleep(0.5)
        return {
            "times": times, "offered": times * our_peak, **flood.summary(self.objective_ms), "peak_beside": beside,
            "watched_seconds": after.start - ended + self.plan.after, "usual_share": usual,
            "normal_after_seconds": None if back is None else after.start - ended + back,
        }  # fmt: skip


Round = tuple[Samples, Samples]  # at one connection, at sixteen


def _compared(rounds: Sequence[Round], floor: Sequence[tuple[Round, Round]]) -> dict[str, Any]:
    """Both loads of one server, and round by round against the mean of the bare application's two turns."""
    lone, many = [one for one, _ in rounds], [other for _, other in rounds]
    more = [_p50(a) - (_p50(b) + _p50(c)) / 2 for a, ((b, _), (c, _)) in zip(lone, floor, strict=True)]
    ratio = [2 * a.rate() / (b.rate() + c.rate()) for a, ((_, b), (_, c)) in zip(many, floor, strict=True)]
    return {
        "lone": _pooled(lone),
        "many": _pooled(many),
        "over_bare": {"p50_ms": _spread(more), "rate": _spread(ratio)},
    }


def _noise(floor: Sequence[tuple[Round, Round]]) -> dict[str, Any]:
    """The bare application's second turn of a round against its first."""
    return {
        "p50_ms": _spread([_p50(again) - _p50(first) for (first, _), (again, _) in floor]),
        "rate": _spread([again.rate() / first.rate() for (_, first), (_, again) in floor]),
    }


def _pooled(parts: Sequence[Samples]) -> dict[str, Any]:
    asked, right = sum(len(part) for part in parts), sum(int(part.right.sum()) for part in parts)
    times = np.concatenate([part.latency_ms[part.right] for part in parts])
    nanoseconds = (times * 1e6).astype(np.int64).tolist()
    return {
        "asked": asked, "right": right, "wrong": sum(int(part.wrong.sum()) for part in parts),
        "success_rate": right / asked, "rate": statistics.median(part.rate() for part in parts),
        **{name: percentile_ms(nanoseconds, name) for name in PERCENTILES},
        "rounds_p50_ms": [_p50(part) for part in parts], "rounds_rate": [part.rate() for part in parts],
    }  # fmt: skip


def _p50(samples: Samples) -> float:
    return float(np.median(samples.latency_ms[samples.right]))


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": list(values)}


def _idle_share(up: Sequence[Running]) -> dict[str, float]:
    """The share of a core that each server uses while nobody asks it anything."""
    before = [one.processor_seconds() for one in up]
    time.sleep(2.0)
    return {one.peer.name: (one.processor_seconds() - old) / 2 for one, old in zip(up, before, strict=True)}


def _facts(case: Case) -> dict[str, Any]:
    artifact = load_artifact(case.artifact)
    return {"name": artifact.name, "digest": artifact.digest, "precision": artifact.core.precision,
            "depends_on_batch": artifact.depends_on_batch, "questions": len(case.questions)}  # fmt: skip


def read_case(name: str, folder: Path, texts: Sequence[str], *, alone: bool) -> Case:
    """The artifact's own answers to `texts`, one at a time."""
    with Predictor.load(folder) as predictor:
        answers = [predictor([text])[0] for text in texts]
    return Case(name, folder.resolve(), texts, answers, alone)
