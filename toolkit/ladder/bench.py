"""The whole of a bench run: rungs in turn, then loads, then what a fresh process of each pays; one file of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.errors import DataError, InputError
from toolkit.ladder.plan import Plan
from toolkit.ladder.served import Served, climb, run_scenarios, start_servers
from toolkit.lineage import canonical_json
from toolkit.measure.bench_file import BenchFile
from toolkit.measure.conditions import Conditions, Watch
from toolkit.measure.cost import COST, measure_cost
from toolkit.measure.energy import Meter
from toolkit.measure.footprint import Footprint, measure_footprint
from toolkit.measure.idle import Idleness, look_around
from toolkit.measure.ladder import HTTP, PREDICTOR, RUNNER, Turns, measure_rungs
from toolkit.measure.price import price_answers
from toolkit.measure.rung import compare_rungs
from toolkit.measure.timings import Comparison, Latency
from toolkit.measure.turns import Subject, predictor_subject, runner_subject, spread
from toolkit.predictor import BATCH_SIZE, Predictor
from toolkit.progress import Progress, silent
from toolkit.serving.loading import SERVABLE
from toolkit.serving.standing import cores, on_core
from toolkit.staging import write_atomically


@dataclass(frozen=True)
class Benched:
    """The file; the predictors' samples and what a fresh process of each pays, for their reports."""

    file: BenchFile
    comparison: Comparison
    footprints: tuple[Footprint, ...]


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
        up = start_servers(stack, artifacts, names, predictors, rows, plan, progress) if plan.ladder else {}
        turns = _take_turns(predictors, up, rows, plan, progress)
        entries = [
            _entry(*one, turns, place) for place, one in enumerate(zip(artifacts, names, predictors, strict=True))
        ]
        void = [f"the server of {one.standing.name} died: {one.standing.trouble}" for one in up.values() if one.dead]
        void += turns.gaps(names)
        for place, one in up.items():
            progress("load", place, len(artifacts), names[place])
            void += climb(entries[place], one, plan, partial(progress, "load", place, len(artifacts)))
        if up:
            progress("load", len(artifacts), len(artifacts))
        for place, entry in enumerate(entries):
            if plan.scenarios:
                void += run_scenarios(entry, predictors[place], up.get(place), rows, plan, progress)
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


def _take_turns(
    predictors: Sequence[Predictor], up: Mapping[int, Served], rows: Sequence[Any], plan: Plan, progress: Progress
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
