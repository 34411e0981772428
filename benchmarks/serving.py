"""Our server beside a bare uvicorn application, plain BentoML, FastAPI, LitServe and MLServer, around one predictor.

    python -m benchmarks.serving                (make serving; 72 minutes when it was measured)
    python -m benchmarks.serving --quick        (some minutes, to see that it works; its numbers decide nothing)

Servers run on core 0 with one thread, the load generator on core 1. Many short rounds at one and at sixteen
connections are interleaved between all servers (those that wait are stopped, since some are never idle), the first
one at both ends of each round: its two values are the noise floor, and their mean is what the others are held against.
What is measured there is what a request costs, so nobody refuses: ours has the objective that it comes with, a second.
Then each server alone, ours with the objective: open Poisson arrivals at half of its own peak, a ladder of rates up
to its peak, and two, five and ten times our peak. The long load and the floods of ours are repeated, since one of
each decides nothing on a machine that changes its pace.
Every answer is checked against the process's own predictor. Writes `benchmarks/results/serving.json` and
`serving.svg`; what was measured before a crash is taken from `runs/serving` when nothing has changed. Leaves 0 also
when a bar is missed: the file says so.

Peak is the rate at sixteen connections. Goodput counts right answers within the objective, from when they were due.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import toolkit
from benchmarks.ledger import Ledger
from benchmarks.peers.servers import BARE, BENTOML, EMPTY, OURS
from benchmarks.serving_bars import bars
from benchmarks.serving_phases import CONNECTIONS, MANY, TIMEOUT, Bench, Case, Plan, read_case
from benchmarks.serving_plot import plot
from toolkit.artifact import load_artifact
from toolkit.data.loading import load_data
from toolkit.machine import describe_machine
from toolkit.measure.conditions import Watch
from toolkit.measure.latency import measure_latency
from toolkit.measure.samples import PERCENTILES, percentile_ms
from toolkit.predictor import Prediction, Predictor
from toolkit.serving.standing import cores
from toolkit.staging import write_atomically

RESULTS = Path(__file__).parent / "results"
WORK = Path("runs/serving")
ROWS = 256
FULL = Plan(
    rounds=24, lone=0.5, many=0.6, steady=120.0, step=6.0, overload=8.0, after=7.0, beside=2.0, repeats=9,
    steady_others=60.0,
)  # fmt: skip
QUICK = Plan(
    rounds=2, lone=0.4, many=0.4, steady=2.0, step=0.6, overload=1.0, after=2.0, beside=0.4, repeats=2,
    steady_others=2.0,
)  # fmt: skip


def in_process(case: Case, seconds: float) -> dict[str, Any]:
    """The lower rungs of the ladder: the predictor, and its runner alone, called one row at a time."""
    with Predictor.load(case.artifact) as predictor:
        whole = measure_latency(predictor, case.questions, seconds=seconds).to_json()
        arrays = [predictor.encoder.encode([text]) for text in case.questions]
        times = []
        for _ in range(max(1, 1024 // len(arrays))):
            for one in arrays:
                start = time.perf_counter_ns()
                predictor.runner.run(one)
                times.append(time.perf_counter_ns() - start)
    return {"predictor": whole, "runner": {name: percentile_ms(times, name) for name in PERCENTILES}}


def null_server(bench: Bench, case: Case) -> dict[str, Any]:
    """What the generator and HTTP cost without any model."""
    empty = replace(case, answers=[Prediction("none", 1.0)] * len(case.questions))
    with bench.start(EMPTY, empty) as one:
        lone = bench.closed(empty, one, 1, max(1.0, bench.plan.lone)).summary()
        many = bench.closed(empty, one, MANY, max(1.0, bench.plan.many)).summary()
    return {"lone": lone, "many": many}


def _key(plan: Plan, cases: Sequence[Case], options: Mapping[str, Any]) -> str:
    here = Path(__file__)
    sources = sorted(
        [
            *Path(toolkit.__file__).parent.glob("serving/*.py"),
            here,
            here.with_name("serving_phases.py"),
            *here.parent.glob("peers/**/*.py"),
        ]
    )
    parts = [asdict(plan), dict(options), [load_artifact(case.artifact).digest for case in cases],
             [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def main() -> int:
    """Measure, write the result and the plot, print the bars."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--artifact", type=Path, default=Path("runs/demo/baseline-int8"), help="INT8 MiniLM on TREC")
    parser.add_argument("--student", type=Path, default=WORK / "student", help="a model of 0.3 ms at most")
    parser.add_argument("--objective", type=float, default=100.0, metavar="MS", help="p99 that must be kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="seconds each; writes runs/serving/quick.json only")
    parser.add_argument("--out", type=Path, help="where the result goes; the plot stands beside it")
    options = parser.parse_args()
    # stopped by a signal it must still stop its servers
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    plan = QUICK if options.quick else FULL
    out = options.out or (WORK / "quick.json" if options.quick else RESULTS / "serving.json")
    texts = [str(text) for text in load_data("trec", seed=0).split("test").examples[:ROWS]]
    cases = [read_case("int8", options.artifact, texts, alone=True),
             read_case("student", options.student, texts, alone=False)]  # fmt: skip
    key = _key(plan, cases, {"objective": options.objective, "seed": options.seed})
    server, generator = cores(1)
    ledger = Ledger(WORK / f"{out.stem}.partial.jsonl", key)
    watch, started = Watch(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="serving-bench-") as folder:
        bench = Bench(plan, server, Path(folder), options.objective, options.seed, ledger)
        if server is not None and generator is not None:
            os.sched_setaffinity(0, {server})
        lower = {
            case.name: ledger.take(f"{case.name}/in process", partial(in_process, case, 2 * plan.lone))
            for case in cases
        }
        if generator is not None:
            os.sched_setaffinity(0, {generator})
        null = ledger.take("no model", lambda: null_server(bench, cases[0]))
        found = {case.name: bench.run_case(case) | {"in_process": lower[case.name]} for case in cases}
    results = {
        "toolkit": toolkit.__version__, "date": datetime.now(UTC).isoformat(timespec="seconds"), "quick": options.quick,
        "machine": describe_machine().to_json(), "conditions": watch.conditions().to_json(),
        "pinned": server is not None, "seed": options.seed, "objective_ms": options.objective, "plan": asdict(plan),
        "connections": {"many": MANY, "open": CONNECTIONS}, "timeout_seconds": TIMEOUT,
        "seconds": time.monotonic() - started, "resumed_parts": ledger.resumed,
        "null_server": null, "cases": found,
    }  # fmt: skip
    results["bars"] = bars(found, ours=OURS, bare=BARE, bentoml=BENTOML, objective_ms=options.objective)
    write_atomically(out, (json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    plot(out.with_suffix(".svg"), found["int8"], objective_ms=options.objective)
    for bar in results["bars"]:
        print(f"{bar['verdict']:>9}  {bar['words']}: {bar['reached']} (wanted {bar['wanted']})")
    print(f"{out}, {results['seconds'] / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
