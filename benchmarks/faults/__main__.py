"""Run the fault table, or rows of it by name.

    python -m benchmarks.faults                      (make faults; up to 25 minutes)
    python -m benchmarks.faults --quick              (the quick rows in their short form, 3 minutes)
    python -m benchmarks.faults "worker killed" soak --artifact runs/demo/pruned-int8

The server runs on core 0, the generator on core 1. One JSON line a row goes to stdout and to --lines as soon as the row
is over, the table to stderr at the end; a run of the whole table in its full form also writes
`benchmarks/results/faults.json`. With --keep, rows that were measured by name take the place of theirs there, and
carry the date. Leaves 1 when a row is missed or not built.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

from benchmarks.faults.row import BROKEN, HELD, MISSED, NOT_BUILT, Outcome, Row, run_row
from benchmarks.faults.rows import ROWS
from benchmarks.faults.stand import Stand
from toolkit.artifact import load_artifact
from toolkit.errors import InputError
from toolkit.machine import describe_machine
from toolkit.staging import write_atomically
from toolkit.terminal import say, show_table

RESULTS = Path(__file__).parents[1] / "results" / "faults.json"
LINES = Path("runs/faults/faults.jsonl")
ARTIFACTS = (Path("runs/demo/pruned-int8"), Path("runs/try/pruned-int8"))
BUDGET_MINUTES, QUICK_BUDGET_MINUTES = 25.0, 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every row that was run held or is not here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    names = ", ".join(row.name for row in ROWS).replace("%", "%%")  # argparse formats what it is told
    parser.add_argument("rows", nargs="*", help=f"names of rows: {names}")
    parser.add_argument("--quick", action="store_true", help="the quick rows, in their short form")
    parser.add_argument("--artifact", type=Path, help="folder of an ONNX text classifier")
    parser.add_argument("--minutes", type=float, help="no row begins later than this; 25, or 3 with --quick")
    parser.add_argument("--lines", type=Path, default=LINES, help="file of the JSON lines")
    parser.add_argument("--keep", action="store_true", help="put the named rows into the committed result")
    options = parser.parse_args(arguments)
    if options.keep and (options.quick or not options.rows):
        parser.error("--keep is for rows that are named, in their full form; the whole table is kept anyway")
    unknown = set(options.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    artifact = options.artifact or next((path for path in ARTIFACTS if path.is_dir()), None)
    if artifact is None:
        parser.error("no artifact is there; run make demo, or name one by --artifact")
    if options.keep:
        check_same(RESULTS, load_artifact(artifact).digest)
    chosen = [row for row in ROWS if (row.name in options.rows if options.rows else row.quick or not options.quick)]
    signal.signal(signal.SIGTERM, _interrupt)
    core = _split_cores()
    options.lines.parent.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="toolkit-faults-") as temporary, options.lines.open("w") as lines:
        stand = Stand(artifact, Path(temporary), quick=options.quick, core=core)
        budget = options.minutes or (QUICK_BUDGET_MINUTES if options.quick and not options.rows else BUDGET_MINUTES)
        left_out = _run(chosen, stand, outcomes, lines, started + 60 * budget)
    _show(outcomes)
    for row in left_out:
        say(f"not run, the time was over: {row.name}")
    if not options.quick and not options.rows:
        results = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe_machine().to_json(),
            "artifact": {"name": artifact.name, "digest": load_artifact(artifact).digest},
            "server_core": core,
            "seconds": round(time.monotonic() - started, 1),
            "not_run": [row.name for row in left_out],
            "rows": [outcome.to_json() for outcome in outcomes],
        }
        write_atomically(RESULTS, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
    if options.keep:
        keep(outcomes, RESULTS)
    return 1 if left_out or any(outcome.verdict in (MISSED, NOT_BUILT, BROKEN) for outcome in outcomes) else 0


def check_same(path: Path, digest: str) -> None:
    """Raises `InputError` where the result at `path` is of another model or processor: rows of one belong together."""
    results = json.loads(path.read_bytes())
    found = (results["artifact"]["digest"], results["machine"]["processor"])
    if found != (digest, describe_machine().processor):
        raise InputError(f"{path} is of another model or processor; measure the whole table: make faults")


def keep(outcomes: Sequence[Outcome], path: Path) -> None:
    """Put rows in the place of those of their names in the result at `path`, with the date of now."""
    results = json.loads(path.read_bytes())
    again = {outcome.row.name: outcome.to_json() for outcome in outcomes}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    results["rows"] = [
        again[row["row"]] | {"measured": date} if row["row"] in again else row for row in results["rows"]
    ]
    write_atomically(path, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())


def _run(chosen: Sequence[Row], stand: Stand, outcomes: list[Outcome], lines: IO[str], deadline: float) -> list[Row]:
    """Run rows until they are done or the time is over; those that were not run."""
    for number, row in enumerate(chosen):
        if time.monotonic() > deadline:
            return list(chosen[number:])
        outcome = run_row(row, stand)
        outcomes.append(outcome)
        line = json.dumps(outcome.to_json(), ensure_ascii=False) + "\n"
        for stream in (sys.stdout, lines):
            print(line, end="", file=stream, flush=True)
        words = "; ".join(outcome.missed) or outcome.words
        say(f"{number + 1}/{len(chosen)} {row.name}: {outcome.verdict} ({outcome.seconds:.0f} s) {words}".rstrip())
    return []


def _split_cores() -> int | None:
    """Put this process, the generator, on the last core; the one for servers. None where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    os.sched_setaffinity(0, {cores[-1]})
    return cores[0]


def _show(outcomes: Sequence[Outcome]) -> None:
    titles = ("fault", "verdict", "s", "what fell short", "control", "how it failed")
    show_table(
        titles,
        [
            (
                outcome.row.name, outcome.verdict, f"{outcome.seconds:.0f}",
                "; ".join(outcome.missed) or outcome.words, outcome.row.control.words,
                outcome.control_missed[0] if outcome.control_missed else "",
            )
            for outcome in outcomes
        ],
        right={"s"},
    )  # fmt: skip
    held = sum(outcome.verdict == HELD for outcome in outcomes)
    say(f"{held} of {len(outcomes)} held")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends as Ctrl-C does: servers, mounts and groups are taken down on the way out."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
