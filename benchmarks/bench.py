"""Every model of the toolkit on the whole ladder: text, pictures and records, as they came, exported and made small.

    python -m benchmarks.bench [CASE...]        (make bench; at most 60 minutes, training included)
    python -m benchmarks.bench --quick          (minutes, to see that it works; its numbers decide nothing)

The models are made first (`cases`), then judged on test rows, then measured by what `toolkit bench --ladder` calls:
runner, predictor and HTTP in interleaved rounds, the peak under an objective, open arrivals at shares of it, and
LoadGen's scenarios. The first artifact of a case is the exported one, which has every rung: it is also the noise
floor. Writes `benchmarks/results/bench.json`; what was measured before a crash is taken from `runs/bench` when
nothing has changed. A void run is written, says why, is measured again next time, and leaves 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import toolkit
from benchmarks.cases import CASES, QUICK_CASES, WORKPLACE, Case, data_of, make_models
from benchmarks.ledger import Ledger
from benchmarks.roles import CAME, MEASURED
from toolkit.artifact import Artifact
from toolkit.bench_table import ladder_table, notes_of, process_table
from toolkit.data import Data
from toolkit.judge.assessment import users_of
from toolkit.judge.quality import judge_logits
from toolkit.ladder import OBJECTIVE_MS, Plan, names_of, run_bench
from toolkit.lineage import digest_of
from toolkit.machine import describe_machine
from toolkit.measure.bench_file import BenchFile
from toolkit.measure.conditions import Watch
from toolkit.measure.loadgen import SCENARIOS
from toolkit.predictor import Predictor
from toolkit.progress import Progress
from toolkit.staging import write_atomically
from toolkit.terminal import say, show_table, showing_progress

SCHEMA_VERSION = 1
RESULTS = Path(__file__).parent / "results"
PRICE_PER_HOUR = 0.10  # stated, of any currency; costs scale with it
FULL = Plan(
    data="", seconds=10.0, rounds=5, ladder=True, objective_ms=OBJECTIVE_MS, scenarios=tuple(SCENARIOS),
    price_per_hour=PRICE_PER_HOUR,
)  # fmt: skip
QUICK = replace(FULL, seconds=1.0, rounds=2, probe_seconds=0.5)


def judge_models(models: Sequence[Artifact], names: Sequence[str], data: Data, case: Case) -> dict[str, Any]:
    """What each model answers on all test rows, by its name in the table, against the one that came."""
    test = data.split("test")
    answers = []
    for model in models:
        with Predictor.load(model, threads=1) as predictor:
            answers.append(predictor.logits(test.examples) / predictor.temperature)
    came = answers[MEASURED.index(CAME)]
    users = users_of(test) if data.task == "recommend" else None
    found = {}
    for model, name, logits in zip(models, names, answers, strict=True):
        quality = judge_logits(
            came, logits, test.labels, spec=model.spec, max_drop=case.max_drop, split_name="test", users=users
        ).to_json()
        found[name] = {key: quality[key] for key in ("test", "difference", "flips", "verdict")}
    return found


def run_case(
    case: Case, models: Mapping[str, Artifact], data: Data, plan: Plan, ledger: Ledger, progress: Progress
) -> dict[str, Any]:
    """Judge and measure the models of one case, or take what an earlier run found."""
    chosen = [models[role] for role in MEASURED]
    names, test = names_of(chosen), data.split("test")

    def measure() -> dict[str, Any]:
        begun = time.monotonic()
        found = run_bench(chosen, test.examples, replace(plan, data=case.data), progress=progress).file.to_json()
        return {"bench": found, "seconds": time.monotonic() - begun}

    quality = ledger.take(f"{case.name}/quality", partial(judge_models, chosen, names, data, case))
    measured = ledger.take(f"{case.name}/ladder", measure, keep=lambda found: not found["bench"]["void"])
    return {
        "made": case.to_json(), "rows": len(test), "metric": "auc" if data.task == "recommend" else "accuracy",
        "max_drop": case.max_drop, "models": dict(zip(MEASURED, names, strict=True)), "quality": quality, **measured,
    }  # fmt: skip


def run(cases: Sequence[Case], plan: Plan, workplace: Path, progress: Progress) -> dict[str, Any]:
    """Make the models of all cases, then measure one case after the other; everything resumes in `workplace`."""
    watch, begun = Watch(), time.monotonic()
    data = {case.name: data_of(case, plan.seed) for case in cases}
    models = {
        case.name: make_models(case, data[case.name], workplace, seed=plan.seed, progress=progress) for case in cases
    }
    made = time.monotonic() - begun
    ledger = Ledger(workplace / "bench.partial.jsonl", key_of(cases, models, plan))
    found = {
        case.name: run_case(case, models[case.name], data[case.name], plan, ledger, progress) for case in cases
    }  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION, "kind": "benchmark", "toolkit": toolkit.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "seed": plan.seed,
        "machine": describe_machine().to_json(), "conditions": watch.conditions().to_json(), "plan": asdict(plan),
        "seconds": time.monotonic() - begun, "seconds_to_make": made, "resumed_parts": ledger.resumed, "cases": found,
    }  # fmt: skip


def key_of(cases: Sequence[Case], models: Mapping[str, Mapping[str, Artifact]], plan: Plan) -> str:
    """The digest of what decides the numbers: models, plan, and the code that measures and serves."""
    package, here = Path(toolkit.__file__).parent, Path(__file__).parent
    sources = [file for part in ("ladder", "measure", "serving") for file in package.glob(f"{part}/*.py")]
    sources += [here / "bench.py", here / "cases.py"]
    return digest_of([
        asdict(plan), describe_machine().to_json(), [case.to_json() for case in cases],
        {name: {role: model.digest for role, model in made.items()} for name, made in models.items()},
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(sources)],
    ])  # fmt: skip


def text_of(results: Mapping[str, Any]) -> str:
    """The file's text: JSON with lists of numbers on one line, for a histogram has no use for a line a bin."""
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    # no string of JSON holds a line break, so nothing but a list is met
    return re.sub(r"\[\n[^\[\]{}\"]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def print_case(case: Mapping[str, Any]) -> None:
    """The tables of `toolkit bench`, on stderr."""
    bench = BenchFile.from_json(case["bench"])
    for found in (ladder_table(bench), process_table(bench)):
        show_table(found.titles, found.rows, right=found.right, bad=found.bad)
        say("")
    for words in notes_of(bench):
        say(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the result, print the tables; 1 for a void run."""
    parser = argparse.ArgumentParser(prog="benchmarks.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--quick", action="store_true", help="small models and seconds; writes runs/bench only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where the result goes")
    options = parser.parse_args(arguments)
    known = {case.name: case for case in (QUICK_CASES if options.quick else CASES)}
    if unknown := [name for name in options.cases if name not in known]:
        parser.error(f"no case {unknown[0]!r}; allowed: {', '.join(known)}")
    chosen = [known[name] for name in options.cases or known]
    # stopped by a signal it must still stop its servers
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    workplace = WORKPLACE / "quick" if options.quick else WORKPLACE
    whole = RESULTS / "bench.json" if len(chosen) == len(known) and not options.quick else workplace / "bench.json"
    out: Path = options.out or whole
    with showing_progress() as progress:
        plan = replace(QUICK if options.quick else FULL, seed=options.seed)
        results = run(chosen, plan, workplace, progress) | {"quick": options.quick}
    write_atomically(out, text_of(results).encode())
    for case in results["cases"].values():
        print_case(case)
    say(f"{out}, {results['seconds'] / 60:.1f} minutes, {results['seconds_to_make'] / 60:.1f} of them to make models")
    return 1 if any(case["bench"]["void"] for case in results["cases"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
