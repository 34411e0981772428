"""The whole ladder for several artifacts side by side: in process, and behind real servers of this toolkit.

`run_bench` is what `toolkit bench` does. Servers are all started first; those that wait for their turn are stopped
(SIGSTOP), since an idle server is not idle enough. With one thread, what is measured stands on one core and the load
generator on another. A server that dies, a schedule that slips and a round without a right answer make the run void:
it is measured to its end, and decides nothing.

Limits: one machine, loopback: no network is in any number. Servers batch by what `toolkit bench` stored beside the
artifact, as they will when it is served.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.errors import DataError, InputError
from toolkit.lineage import canonical_json
from toolkit.measure.bench_file import BenchFile
from toolkit.measure.conditions import Conditions, Watch
from toolkit.measure.cost import COST, measure_cost
from toolkit.measure.energy import Meter
from toolkit.measure.footprint import Footprint, measure_footprint
from toolkit.measure.idle import Idleness, look_around
from toolkit.measure.ladder import HTTP, PREDICTOR, RUNNER, Turns, measure_rungs
from toolkit.measure.load import Request, run_open
from toolkit.measure.load_samples import Samples
from toolkit.measure.price import price_answers
from toolkit.measure.rung import compare_rungs
from toolkit.measure.served_rungs import LONGEST_PROBE, TIMEOUT_SECONDS, find_peak, open_steps, requests_for
from toolkit.measure.timings import Comparison, Latency
from toolkit.measure.turns import Subject, predictor_subject, runner_subject, spread
from toolkit.predictor import BATCH_SIZE, Predictor
from toolkit.progress import Progress, silent
from toolkit.serving.loading import SERVABLE
from toolkit.serving.standing import ServerGoneError, Standing, cores, on_core, stand
from toolkit.staging import write_atomically

OBJECTIVE_MS = 100.0
OFFLINE_CONNECTIONS = 16  # LoadGen hands over everything at once; more at a time than the objective bears is refused


@dataclass(frozen=True)
class Plan:
    """What is measured and for how long; `data` is what the rows were called, for the file.

    `seconds` are for each artifact on each rung, and for each step of open arrivals; `probe_seconds` for each rate
    that is tried on the way to the peak. A load that needs longer for a p99 gets up to `longest_probe` seconds.
    """

    data: str
    seconds: float = 10.0
    rounds: int = 5
    threads: int = 1
    ladder: bool = False
    objective_ms: float = OBJECTIVE_MS
    scenarios: tuple[str, ...] = ()
    price_per_hour: float | None = None
    seed: int = 0
    probe_seconds: float = 3.0
    longest_probe: float = LONGEST_PROBE


@dataclass(frozen=True)
class Benched:
    """The file; the predictors' samples and what a fresh process of each pays, for their reports."""

    file: BenchFile
    comparison: Comparison
    footprints: tuple[Footprint, ...]


@dataclass(frozen=True)
class _Served:
    """A server, and what it is asked."""

    standing: Standing
    requests: Sequence[Request]

    @property
    def dead(self) -> bool:
        return self.standing.dead


def names_of(artifacts: Sequence[Artifact]) -> list[str]:
    """What each artifact is called in a file: its name, with its folder where two have the same."""
    count = Counter(artifact.name for artifact in artifacts)
    return [f"{one.name} ({one.folder})" if count[one.name] > 1 else one.name for one in artifacts]


def require_one_task(artifacts: Sequence[Artifact]) -> None:
    """Raise `InputError` unless all answer the same kind of question, and each is given once."""
    for other in artifacts[1:]:
        if other.spec.task != artifacts[0].spec.task:
            raise InputError(
                f"{artifacts[0].folder} is of the task {artifacts[0].spec.task} and {other.folder} of "
                f"{other.spec.task}; the same rows go to all, so give artifacts of one task"
            )
    twice = [str(folder) for folder, count in Counter(one.folder.resolve() for one in artifacts).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice; each artifact once (the noise floor is measured anyway)")


def run_bench(
    artifacts: Sequence[Artifact],
    examples: Sequence[Any],
    plan: Plan,
    *,
    idle: Idleness | None = None,
    progress: Progress = silent,
) -> Benched:
    """Measure `artifacts` on at most 256 of `examples`; stores what batches cost beside each, by which servers batch.

    Raises `InputError` for artifacts of different tasks, `DataError` without rows, `ServerStartError`.
    """
    require_one_task(artifacts)
    if not len(examples):
        raise DataError(f"{plan.data} has no row to measure with")
    idle = idle or look_around()
    watch, rows, names = Watch(), spread(examples), names_of(artifacts)
    for artifact in artifacts:
        if artifact.core.format in SERVABLE:
            store_cost(artifact, examples, plan.threads)
    with contextlib.ExitStack() as stack:
        predictors = [stack.enter_context(Predictor.load(one, threads=plan.threads)) for one in artifacts]
        up = _start_servers(stack, artifacts, names, predictors, rows, plan, progress) if plan.ladder else {}
        turns = _take_turns(predictors, up, rows, plan, progress)
        entries = [
            _entry(*one, turns, place) for place, one in enumerate(zip(artifacts, names, predictors, strict=True))
        ]
        void = [f"the server of {one.standing.name} died: {one.standing.trouble}" for one in up.values() if one.dead]
        void += turns.gaps(names)
        for place, one in up.items():
            progress("load", place, len(artifacts), names[place])
            void += _climb(entries[place], one, plan, partial(progress, "load", place, len(artifacts)))
        if up:
            progress("load", len(artifacts), len(artifacts))
        for place, entry in enumerate(entries):
            if plan.scenarios:
                void += _run_scenarios(entry, predictors[place], up.get(place), rows, plan, progress)
    footprints = tuple(measure_footprint(one.folder, rows[0], threads=plan.threads) for one in artifacts)
    for place, (entry, footprint) in enumerate(zip(entries, footprints, strict=True)):
        entry["footprint"] = footprint.to_json()
        if plan.ladder and place not in up:
            entry["not_served"] = f"{artifacts[place].core.format} is not served; run toolkit export first"
        _add_price(entry, plan)
    conditions = watch.conditions()
    floors, ratios = compare_rungs(entries, seed=plan.seed)
    file = BenchFile.of(
        entries, settings=_settings(plan, len(rows)), conditions={**conditions.to_json(), "idle": idle.to_json()},
        seed=plan.seed, void=void, noise_floor=floors, ratios=ratios,
    )  # fmt: skip
    latencies = [_latency(turns, place, entry, len(rows), conditions) for place, entry in enumerate(entries)]
    return Benched(file, Comparison(tuple(latencies), _medians(turns)), footprints)


def _start_servers(
    stack: contextlib.ExitStack, artifacts: Sequence[Artifact], names: Sequence[str], predictors: Sequence[Predictor],
    rows: Sequence[Any], plan: Plan, progress: Progress,
) -> dict[int, _Served]:  # fmt: skip
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
        up[place] = _Served(standing, requests_for(predictors[place], rows))
    progress("servers", len(servable), len(servable), "ready")
    return up


def _take_turns(
    predictors: Sequence[Predictor], up: Mapping[int, _Served], rows: Sequence[Any], plan: Plan, progress: Progress
) -> Turns:
    """All artifacts on all rungs they have, in interleaved rounds."""
    subjects: list[dict[str, Subject]] = []
    for place, predictor in enumerate(predictors):
        found: dict[str, Subject] = {
            RUNNER: runner_subject(predictor, rows),
            PREDICTOR: predictor_subject(predictor, rows),
        }
        if place in up:
            found[HTTP] = up[place].standing.subject(up[place].requests, seed=plan.seed)
        subjects.append(found)
    meter = Meter.open()
    with on_core(cores(plan.threads)[0]):
        return measure_rungs(
            subjects, rounds=plan.rounds, seconds=plan.seconds, meter=meter if meter.names else None, progress=progress
        )


def store_cost(artifact: Artifact, examples: Sequence[Any], threads: int) -> None:
    """Time batches, and see whether sharing one moves an answer, as a server with batching would."""
    with Predictor.load(artifact, threads=threads, batch_size=BATCH_SIZE) as predictor:
        curve = measure_cost(predictor, digest=artifact.digest, threads=threads, examples=examples)
    write_atomically(artifact.folder / EVIDENCE / COST, canonical_json(curve.to_json()))


def _climb(entry: dict[str, Any], one: _Served, plan: Plan, say: Callable[[str], None]) -> list[str]:
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


def _run_scenarios(
    entry: dict[str, Any],
    predictor: Predictor,
    one: _Served | None,
    rows: Sequence[Any],
    plan: Plan,
    progress: Progress,
) -> list[str]:
    """LoadGen's scenarios into the entry: against the server at half of its peak, or in process without one."""
    from toolkit.measure.loadgen import run_scenario

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
            found[scenario] = run_scenario(
                scenario, predictor if one is None else one.standing.url, rows if one is None else one.requests,
                seconds=plan.seconds, seed=plan.seed, rate=rate, objective_ms=plan.objective_ms, progress=progress,
                connections=at_once if scenario == "offline" else None,
            )  # fmt: skip
            void += [f"{name}, LoadGen {reason}" for reason in found[scenario]["void"]]
            if one is not None and one.dead:
                void.append(f"the server of {name} died while it was measured: {one.standing.trouble}")
                break
    entry["loadgen"] = found
    return void


def _entry(artifact: Artifact, name: str, predictor: Predictor, turns: Turns, place: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": name,
        "folder": str(artifact.folder),
        "digest": artifact.digest,
        "task": artifact.spec.task,
        "steps": [step.to_json() for step in artifact.core.steps],
        "size_bytes": artifact.size_bytes,
        "runtime": dict(predictor.runner.facts()),
        "rungs": turns.rungs(place),
    }
    energy = turns.energy[place]
    return entry if energy is None else {**entry, "energy": energy.to_json(entry["rungs"][PREDICTOR]["asked"])}


def _add_price(entry: dict[str, Any], plan: Plan) -> None:
    """By the peak where there is one, else by the predictor alone."""
    if plan.price_per_hour is None:
        return
    rate, basis = entry.get("peak", {}).get("rate"), f"peak under {plan.objective_ms:g} ms over HTTP"
    mean = entry["rungs"][PREDICTOR]["mean_ms"]
    if rate is None and mean:
        rate, basis = 1000 / mean, "predictor in process, one row at a time"
    if rate:
        entry["price"] = price_answers(rate, plan.price_per_hour, basis=basis).to_json()


def _settings(plan: Plan, rows: int) -> dict[str, Any]:
    server, generator = cores(plan.threads)
    return {**asdict(plan), "rows": rows, "scenarios": list(plan.scenarios),
            "pinned": {"server": server, "generator": generator}}  # fmt: skip


def _latency(turns: Turns, place: int, entry: Mapping[str, Any], examples: int, conditions: Conditions) -> Latency:
    """The predictor's samples as a report takes them."""
    found = turns.of[place][PREDICTOR]
    nanoseconds = np.concatenate([turn.nanoseconds for turn in found]).tolist()
    return Latency(tuple(nanoseconds), examples, sum(turn.wrong for turn in found), entry["runtime"], conditions)


def _medians(turns: Turns) -> tuple[tuple[float, ...], ...]:
    """Of the predictors, round by round, the first one again at the end; of all answers, right or wrong."""
    columns = [*(found[PREDICTOR] for found in turns.of), turns.again[PREDICTOR]]
    return tuple(tuple(float(np.median(turn.nanoseconds)) / 1e6 for turn in row) for row in zip(*columns, strict=True))
