"""The same weights, rows, threads and batch through other runtimes and compressors, and served by other servers.

    python -m benchmarks.peers_run              (make peers; at most 60 minutes)
    python -m benchmarks.peers_run --quick      (to see that it works; its numbers decide nothing)

Eager PyTorch, torch.compile, ONNX Runtime, Optimum's dynamic INT8, Olive's auto-opt, OpenVINO in bfloat16, NNCF with
OpenVINO, and this toolkit's own artifacts of the same training (`toolkit demo` leaves them in runs/demo). Each stands
in an environment of its own, installed here from the `requirements.txt` of its folder under `benchmarks/peers`, around
the trained checkpoint converted to Hugging Face's form (logits within 1e-4). One row a call, tokenizer included, all
interleaved in one run; at one thread on core 0, then at two. Then the servers of `make serving` around our INT8.
Whatever a peer cannot do stands in its row in its own words.

Writes `benchmarks/results/peers.json`; what was measured before a crash is taken from `runs/peers` when nothing has
changed. Leaves 0 when it has measured, whoever is faster.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import toolkit
from benchmarks.ledger import Ledger
from benchmarks.peers.contestants import Contestant, contestants
from benchmarks.peers.models import CALIBRATION_ROWS, converted, install, make_all, packaged_by
from benchmarks.peers.rounds import Length, compete
from benchmarks.peers.seats import Made
from benchmarks.serving_phases import Bench, read_case
from benchmarks.serving_phases import Plan as ServingPlan
from toolkit.artifact import load_artifact
from toolkit.data import Split
from toolkit.data.loading import load_data
from toolkit.errors import DataError, ToolkitError
from toolkit.machine import describe_machine
from toolkit.measure.conditions import Watch
from toolkit.measure.idle import look_around
from toolkit.serving.standing import cores, on_core
from toolkit.staging import write_atomically

RESULTS = Path(__file__).parent / "results" / "peers.json"
WORK = Path("runs/peers")
DEMO = Path("runs/demo")
SERVED_ROWS = 256
OBJECTIVE_MS = 100.0


@dataclass(frozen=True)
class Plan:
    """What is run at one thread and at two, and seconds of each served round."""

    one: Length
    two: Length
    served_rounds: int
    served_seconds: float


FULL = Plan(Length(10, 4.0, None), Length(10, 2.0, None), 5, 2.5)
QUICK = Plan(Length(2, 0.5, 50), Length(2, 0.3, 25), 2, 0.4)


def main() -> int:
    """Make what is not there, measure, write the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers_run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", type=Path, default=DEMO, help="what `toolkit demo` left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="seconds each; writes runs/peers/quick.json only")
    parser.add_argument("--out", type=Path, help="where the result goes")
    options = parser.parse_args()
    # stopped by a signal it must still stop its processes
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(options.demo, QUICK if options.quick else FULL, seed=options.seed, out=options.out)
    except ToolkitError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2


def run(demo: Path, plan: Plan, *, seed: int, out: Path | None) -> int:
    """All parts, each kept in the ledger as soon as it is known; raises `DataError` without the demo's models."""
    if missing := [name for name in ("baseline", "baseline-onnx", "baseline-int8") if not (demo / name).is_dir()]:
        raise DataError(f"{demo} has no {', '.join(missing)}; run toolkit demo, or name its folder with --demo")
    quick, demo = plan is QUICK, demo.resolve()
    out = out or (WORK / "quick.json" if quick else RESULTS)
    watch, started = Watch(), time.monotonic()
    data = load_data("trec", seed=0)
    everyone = contestants(onnx=demo / "baseline-onnx", int8=demo / "baseline-int8", packaged=packaged_by(demo))
    ours = {one.name: load_artifact(one.artifact).digest for one in everyone if one.artifact}
    ledger = Ledger(
        WORK / f"{out.stem}.partial.jsonl", _key(plan, [load_artifact(demo / "baseline").digest, ours, seed])
    )
    checkpoint, difference = converted(demo / "baseline", data)
    environments = {name: install(name) for name in dict.fromkeys(one.environment for one in everyone) if name}
    made, words = make_all(everyone, checkpoint, data, environments)
    server, generator = cores(1)
    pinned = {1: [server], 2: [server, generator]} if server is not None and generator is not None else {}
    parts = {}
    WORK.mkdir(parents=True, exist_ok=True)
    for threads, length in ((1, plan.one), (2, plan.two)):
        measure = partial(
            compete, {one: found.folder for one, found in made.items()}, data.split("test"), checkpoint.resolve(),
            threads=threads, cores=pinned.get(threads, []), length=length, logs=WORK.resolve(), seed=seed,
        )  # fmt: skip
        parts[str(threads)] = ledger.take(
            f"threads {threads}, {len(made)} contestants", partial(_apart, measure, generator)
        )
    serve = partial(serve_all, demo / "baseline-int8", plan, data.split("test"), server, seed)
    served = ledger.take("served", partial(_apart, serve, generator))
    results = {
        "schema_version": 1, "kind": "peers", "toolkit": toolkit.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "quick": quick, "seed": seed,
        "machine": describe_machine().to_json(), "conditions": watch.conditions().to_json(),
        "pinned": generator is not None, "plan": asdict(plan), "seconds": time.monotonic() - started,
        "resumed_parts": ledger.resumed,
        "weights": {"name": "baseline", "digest": load_artifact(demo / "baseline").digest,
                    "largest_relative_logit_difference": difference},
        "data": {"name": "trec", "split": "test", "rows": len(data.split("test")),
                 "calibration_rows": CALIBRATION_ROWS},
        "environments": environments,
        "rows": [row(one, made.get(one), words.get(one.name), parts) for one in everyone],
        "noise_floor": {threads: part["noise_floor"] for threads, part in parts.items()},
        "rounds": {
            threads: {name: part[name] for name in ("idle", "conditions", "again_p50_ms")}
            for threads, part in parts.items()
        },
        "served": served,
    }  # fmt: skip
    write_atomically(out, (json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    for line in results["rows"]:
        times = line.get("threads", {}).get("1", {})
        print(f"{line['name']:>24}  {line.get('unavailable') or _shown(times)}")
    print(f"{out}, {results['seconds'] / 60:.1f} minutes")
    return 0


def row(one: Contestant, made: Made | None, words: str | None, parts: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the table: what was made, how good it is, what it costs at each number of threads, or its words."""
    found: dict[str, Any] = {"name": one.name, "words": one.words, "environment": one.environment or "ours"}
    first = parts["1"]["rows"].get(one.name, {"unavailable": words})
    if made is None or "unavailable" in first:
        return found | {"unavailable": words or first["unavailable"]}
    facts = first["facts"]
    found |= {"make_seconds": made.seconds, "resident_mb": first["resident_mb"], **facts, **first["judged"]}
    found["threads"] = {
        threads: {"unavailable": part["rows"][one.name]["unavailable"]}
        if "unavailable" in part["rows"][one.name]
        else part["rows"][one.name]["times"] | {"ready_seconds": part["rows"][one.name]["ready_seconds"]}
        for threads, part in parts.items()
    }
    return found


def serve_all(artifact: Path, plan: Plan, split: Split, core: int | None, seed: int) -> dict[str, Any]:
    """The servers of `make serving` around our INT8 on `core`, at one connection and at sixteen, interleaved."""
    seconds = plan.served_seconds
    serving = ServingPlan(plan.served_rounds, lone=seconds, many=seconds, steady=0, step=0, overload=0, after=0)
    case = read_case("int8", artifact, [str(text) for text in split.examples[:SERVED_ROWS]], alone=False)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        bench = Bench(serving, core, Path(folder), OBJECTIVE_MS, seed, Ledger(Path(folder) / "none.jsonl", ""))
        return bench.rounds(case, OBJECTIVE_MS)


def _apart(measure: Callable[[], dict[str, Any]], core: int | None) -> dict[str, Any]:
    """`measure` with this process on `core`, where it takes least from what it measures, after a look around."""
    idle = look_around()
    print(idle.words, file=sys.stderr, flush=True)
    with on_core(core):
        return {**measure(), "idle": idle.to_json()}


def _shown(times: Mapping[str, Any]) -> str:
    p50 = times["p50_ms"]
    return (
        f"p50 {'–' if p50 is None else f'{p50:.2f} ms'}, {times['faster']['ratio']:.2f}x eager, {times['samples']} rows"
    )


def _key(plan: Plan, parts: Sequence[Any]) -> str:
    package = Path(toolkit.__file__).parent
    here = Path(__file__).parent
    sources = sorted(
        [*here.glob("peers/**/*.py"), *here.glob("peers/*/requirements.txt"), here / "peers_run.py",
         *package.glob("serving/*.py"), *package.glob("runners/*.py"), package / "predictor.py"]
    )  # fmt: skip
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    return hashlib.sha256(json.dumps([asdict(plan), *parts, digests], sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
