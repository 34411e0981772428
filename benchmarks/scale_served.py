"""A server asked by a growing number of clients at once, each with a request under way: what an answer costs then.

A closed loop: a client that waits asks nothing, so a stall hides; `make bench` has open arrivals. What is told here
is how the cost of an answer (time over answers) and the wait for one grow with the clients. The server is `toolkit
serve` with one thread on one core, the clients on another, and a queue with room for all of them: as it comes, it
holds 64 and refuses the rest at once, which `make serving` measures.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.servers import OURS, PEERS, Running, running
from benchmarks.scale_fit import fit_slopes
from benchmarks.scale_models import Model
from toolkit.errors import ToolkitError
from toolkit.measure.load import Request, run_closed
from toolkit.measure.load_samples import Samples
from toolkit.measure.samples import PERCENTILES, percentile_ms
from toolkit.predictor import Predictor

OBJECTIVE_MS = 10_000.0  # as long as a client waits, so that nobody is refused for a wait foreseen
TIMEOUT = 10.0
WARM_SECONDS = 0.5
READY_SECONDS = 90.0


class VoidRunError(ToolkitError):
    """What was measured decides nothing; the message says why."""


def measure_connections(
    model: Model, texts: Sequence[str], counts: Sequence[int], *, rounds: int, seconds: float, folder: Path,
    core: int | None, seed: int,
) -> list[list[dict[str, Any]]]:  # fmt: skip
    """For each of `counts`, one dict a round: see `_turn`. Raises `VoidRunError` when the server dies.

    Raises `PeerUnavailableError` or `ServerStartError` when it does not start.
    """
    ours = next(peer for peer in PEERS if peer.name == OURS)
    peer = replace(ours, settings={"TOOLKIT_QUEUE": str(max(counts))})
    with Predictor.load(model.artifact) as predictor:
        requests = [peer.request(text, predictor([text])[0]) for text in texts]
    where = model.artifact.folder.resolve()
    with running(peer, where, requests, core=core, folder=folder, objective_ms=OBJECTIVE_MS) as one:
        one.server.wait_until_ready(READY_SECONDS)
        _ask(one, requests, max(counts), WARM_SECONDS, seed)
        found: list[list[dict[str, Any]]] = [[] for _ in counts]
        for number in range(rounds):
            order = range(len(counts)) if number % 2 == 0 else reversed(range(len(counts)))
            for place in order:
                found[place].append(_turn(one, requests, counts[place], seconds, seed + number))
    return found


def gather_connections(
    counts: Sequence[int], found: Sequence[Sequence[dict[str, Any]]], operations_ms: float
) -> list[dict[str, Any]]:
    """Two series of the same points: the cost of an answer, and the wait for one; the limit is of the products alone.

    Weights are read once for a whole batch, whose size is the server's, so they bound no single answer.
    """
    points = [_point(size, rounds, operations_ms) for size, rounds in zip(counts, found, strict=True)]
    series = []
    for what, limited in (("cost", True), ("wait", False)):
        kept = []
        for point in points:
            values = point[f"{what}_rounds_ms"]
            shared = {name: value for name, value in point.items() if not name.endswith("_rounds_ms")}
            limit = {"operations_ms": operations_ms, "limit_ms": operations_ms} if limited else {}
            kept.append({**shared, "ms": statistics.median(values), "rounds_ms": values, **limit})
        series.append({"what": what, "points": kept, **fit_slopes(counts, [point["rounds_ms"] for point in kept])})
    return series


def _ask(one: Running, requests: Sequence[Request], connections: int, seconds: float, seed: int) -> Samples:
    try:
        return run_closed(
            one.url, requests, connections=connections, seconds=seconds, timeout=TIMEOUT, seed=seed
        )  # fmt: skip
    except OSError as error:
        raise VoidRunError(f"the server takes no connection in the run: {error}; {_end(one)}") from None


def _turn(one: Running, requests: Sequence[Request], connections: int, seconds: float, seed: int) -> dict[str, Any]:
    """{"asked", "right", "wrong", "refused", "rate", "us": waits for right answers}."""
    samples = _ask(one, requests, connections, seconds, seed)
    # a worker that was started again may answer by now, but for a while nobody listened
    if one.server.process.poll() is not None or "refused" in samples.errors or not samples.right.any():
        failed = ", ".join(f"{name} {count}" for name, count in samples.errors.items()) or "no right answer"
        raise VoidRunError(f"the server did not live through {connections} connections: {failed}; {_end(one)}")
    waits = samples.latency_ms[samples.right] * 1e3
    return {
        "asked": len(samples), "right": int(samples.right.sum()), "wrong": int(samples.wrong.sum()),
        "refused": int(samples.refused.sum()), "rate": samples.rate(), "us": np.round(waits).astype(int).tolist(),
    }  # fmt: skip


def _end(one: Running) -> str:
    code = one.server.process.poll()
    said = " ".join(one.server.log_tail()[-300:].split())
    return f"its process {'runs' if code is None else f'ended with {code}'}; it said: {said}"


def _point(size: int, rounds: Sequence[dict[str, Any]], operations_ms: float) -> dict[str, Any]:
    nanoseconds = [us * 1000 for part in rounds for us in part["us"]]
    asked, right = (sum(part[name] for part in rounds) for name in ("asked", "right"))
    return {
        "size": size, "cost_rounds_ms": [1e3 / part["rate"] for part in rounds],
        "wait_rounds_ms": [statistics.median(part["us"]) / 1e3 for part in rounds],
        "rate": statistics.median(part["rate"] for part in rounds), "samples": len(nanoseconds),
        **{name: percentile_ms(nanoseconds, name) for name in PERCENTILES},
        "asked": asked, "right": right, "success_rate": right / asked,
        "wrong": sum(part["wrong"] for part in rounds), "refused": sum(part["refused"] for part in rounds),
    }  # fmt: skip
