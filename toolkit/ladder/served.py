"""The rungs over HTTP: servers of this toolkit, their peaks, shares of them, and LoadGen's scenarios."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.ladder.plan import Plan
from toolkit.measure.ladder import HTTP
from toolkit.measure.load import Request, run_open
from toolkit.measure.load_samples import Samples
from toolkit.measure.served_rungs import TIMEOUT_SECONDS, find_peak, open_steps, requests_for
from toolkit.predictor import Predictor
from toolkit.progress import Progress
from toolkit.serving.loading import SERVABLE
from toolkit.serving.standing import ServerGoneError, Standing, cores, stand

OFFLINE_CONNECTIONS = 16  # LoadGen hands over everything at once; more at a time than the objective bears is refused


@dataclass(frozen=True)
class Served:
    """A server, and what it is asked."""

    standing: Standing
    requests: Sequence[Request]

    @property
    def dead(self) -> bool:
        return self.standing.dead


def start_servers(
    stack: contextlib.ExitStack, artifacts: Sequence[Artifact], names: Sequence[str], predictors: Sequence[Predictor],
    rows: Sequence[Any], plan: Plan, progress: Progress,
) -> dict[int, Served]:  # fmt: skip
    """Every artifact that can be served, by its place, ready and stopped."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toolkit-bench-")))
    servable = [place for place, one in enumerate(artifacts) if one.core.format in SERVABLE]
    core, generator = cores(plan.threads)
    up = {}
    for done, place in enumerate(servable):
        progress("servers", done, len(servable), f"starting {names[place]}")
        standing = stack.enter_context(
            stand(artifacts[place], name=names[place], folder=folder, threads=plan.threads,
                  objective_ms=plan.objective_ms, core=core, generator=generator)
        )  # fmt: skip
        up[place] = Served(standing, requests_for(predictors[place], rows))
    progress("servers", len(servable), len(servable), "ready")
    return up


def climb(entry: dict[str, Any], one: Served, plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Peak and shares of it into the entry; returns why the run is void, if it is."""
    lone, name, tried = entry["rungs"][HTTP]["mean_ms"], one.standing.name, 0
    if one.dead or lone is None:
        return []  # a death or a gap, said already

    def offer(rate: float, seconds: float) -> Samples:
        nonlocal tried
        tried += 1
        say(f"{name}: {rate:,.0f} a second for {seconds:.0f} s")
        samples = run_open(
            one.standing.url, one.requests, rate=rate, seconds=seconds, timeout=TIMEOUT_SECONDS, seed=plan.seed + tried
        )
        one.standing.check()
        return samples

    try:
        with one.standing.awake():
            peak = find_peak(
                offer, objective_ms=plan.objective_ms, start=500 / lone, seconds=plan.probe_seconds,
                longest=plan.longest_probe,
            )  # fmt: skip
            entry["peak"] = peak.to_json()
            if peak.rate is None:
                return [f"{name}: no peak, {peak.limit}"] if peak.slipped else []
            steps = open_steps(
                offer, peak.rate, objective_ms=plan.objective_ms, seconds=plan.seconds, longest=plan.longest_probe
            )
            entry["open"] = steps
    except ServerGoneError as error:
        return [str(error)]
    late = [step for step in steps if not step["valid"]]
    return [f"{name}, open at {step['share']:.0%} of peak: the generator was late itself, twice" for step in late]


def run_scenarios(
    entry: dict[str, Any],
    predictor: Predictor,
    one: Served | None,
    rows: Sequence[Any],
    plan: Plan,
    progress: Progress,
) -> list[str]:
    """LoadGen's scenarios into the entry: against the server at half of its peak, or in process without one."""
    from toolkit.measure.loadgen import run_loadgen

    if one is not None and one.dead:
        return []  # said already
    peak, name = entry.get("peak", {}).get("rate"), entry["name"]
    lone_ms = entry["rungs"].get(HTTP, {}).get("mean_ms") or plan.objective_ms
    at_once = max(1, min(OFFLINE_CONNECTIONS, int(plan.objective_ms / 2 / lone_ms)))
    found: dict[str, Any] = {}
    void: list[str] = []
    # in process LoadGen issues from a thread of its own, so nothing is pinned
    with one.standing.awake() if one is not None else contextlib.nullcontext():
        for scenario in plan.scenarios:
            rate = 0.5 * peak if scenario == "server" and peak else None
            try:
                run = run_loadgen(
                    scenario, predictor if one is None else one.standing.url, rows if one is None else one.requests,
                    seconds=plan.seconds, seed=plan.seed, rate=rate, objective_ms=plan.objective_ms,
                    progress=progress, connections=at_once if scenario == "offline" else None,
                )  # fmt: skip
            except InputError:  # nobody answers any more
                if one is None or not one.dead:
                    raise
            else:
                found[scenario] = run.to_json()
                void += [f"{name}, LoadGen {reason}" for reason in found[scenario]["void"]]
            if one is not None and one.dead:
                void.append(f"the server of {name} died while it was measured: {one.standing.trouble}")
                break
    entry["loadgen"] = found
    return void
