"""What an answer costs as work grows: tokens in a row, rows in a batch, clients at once, rows to calibrate on.

    python -m benchmarks.scale              (make scale; about ten minutes on a quiet machine, at most fifteen)
    python -m benchmarks.scale --quick      (a minute or two, to see that it works; its numbers decide nothing)

In process with one thread and with two, fp32 and int8, all in interleaved rounds; the server on one core and its
clients on another. Beside every point stands what the machine allows at best, measured once in the same run: the bytes
of the weights over the rate of memory, the operations over the rates of products (`scale_limits`). Every answer is
checked. The slope of log cost over log size says how it grows (`scale_fit`).

The trained models are those of `make demo`; where they are not there, and beyond their last position, a stand-in of
MiniLM's sizes with random weights takes their place and the result says so. Writes `benchmarks/results/scale.json` and
`scale.svg`; what was measured before a crash is taken from `runs/scale` when nothing has changed. Leaves 1 when the
run is void: a server died or an answer was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import toolkit
from benchmarks.ledger import Ledger
from benchmarks.scale_axes import Plan, Scale, measure
from benchmarks.scale_models import Model, make_stand_ins, read_models
from benchmarks.scale_plot import plot
from benchmarks.scale_table import table
from toolkit.data.loading import load_data
from toolkit.errors import InputError, ToolkitError
from toolkit.machine import describe_machine, threads_allowed
from toolkit.measure.conditions import Watch
from toolkit.serving.standing import cores
from toolkit.staging import write_atomically
from toolkit.terminal import showing_progress

RESULTS = Path(__file__).parent / "results"
WORK = Path("runs/scale")
TRAINED = (Path("runs/demo/baseline-int8"), Path("runs/demo/baseline-onnx"))
SCHEMA_VERSION = 1
THREADS = (1, 2)


POWERS = tuple(2**power for power in range(9))
FULL = Plan((*POWERS[3:], 512), POWERS, POWERS, (16, 64, 256, 1024, 2048), 5, 3, 0.25, 2.0, 2048, None, 0.1)
QUICK = Plan((8, 64, 512), (1, 8, 64), (1, 16, 256), (16, 64), 2, 1, 0.02, 0.4, 512, 64 << 20, 0.02)


def _key(parts: Sequence[Any], models: Sequence[Model]) -> str:
    sources = sorted(Path(__file__).parent.glob("scale*.py"))
    machine = describe_machine()
    whole = [*parts, toolkit.__version__, machine.processor, dict(machine.packages),
             [model.artifact.digest for model in models],
             [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]]  # fmt: skip
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def run(options: argparse.Namespace) -> int:
    """Measure and write; raises what making the models raises."""
    plan = QUICK if options.quick else FULL
    out = options.out or (WORK / "quick.json" if options.quick else RESULTS / "scale.json")
    watch, started = Watch(), time.monotonic()
    data = load_data("trec", seed=options.seed)
    with showing_progress() as progress:
        plain, small = make_stand_ins(WORK, data, seed=options.seed, progress=progress)
    trained = read_models(options.artifact)
    if trained and [model.precision for model in trained] != ["int8", "fp32"]:
        came = ", ".join(f"{model.artifact.folder} in {model.precision}" for model in trained)
        raise InputError(f"scale takes an int8 model and the fp32 one that it came from, in this order; got {came}")
    threads = tuple(count for count in THREADS if count <= threads_allowed())
    models = [small, plain, *trained]
    ledger = Ledger(WORK / f"{out.stem}.partial.jsonl", _key([asdict(plan), options.seed, threads], models))
    scale = Scale(plan, [small, plain], trained, data, threads, options.seed, ledger)
    server, generator = cores(1)
    found, void = measure(scale)
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "kind": "scale", "toolkit": toolkit.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "quick": options.quick, "seed": options.seed,
        "machine": describe_machine().to_json(), "conditions": watch.conditions().to_json(), "void": void,
        "seconds": time.monotonic() - started, "resumed_parts": ledger.resumed, "plan": asdict(plan),
        "threads": list(threads), "pinned": {"server": server, "generator": generator}, "data": data.name,
        "models": [model.to_json() for model in models], **found,
    }  # fmt: skip
    write_atomically(out, (json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    plot(out.with_suffix(".svg"), results)
    print(table(results))
    print(f"\n{out}, {results['seconds'] / 60:.1f} minutes")
    for reason in void:
        print(f"void: {reason}", file=sys.stderr)
    return 1 if void else 0


def main() -> int:
    """The command line; an error of the toolkit is one line and its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    words = "the trained model, as `make demo` leaves it; a stand-in where it is not there"
    parser.add_argument("--artifact", type=Path, nargs=2, default=TRAINED, metavar=("INT8", "FP32"), help=words)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="writes runs/scale/quick.json only")
    parser.add_argument("--out", type=Path, help="where the result goes; the plot stands beside it")
    # stopped by a signal it must still stop its server
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(parser.parse_args())
    except ToolkitError as error:
        print(f"{error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
