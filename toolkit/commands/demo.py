"""`toolkit demo`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, json_option, seed_option


@click.command()
@click.option("-o", "--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Folder of the run.")
@seed_option
@json_option
def command(*, out: Path, seed: int, as_json: bool) -> None:
    """Train, prune, distill, export, quantize, verify, bench, package and serve TREC questions.

    Takes minutes; finished stages are kept, so an interrupted or second run is short. Leaves with 0 also
    when a row of the table fails: showing that is its job.

    \b
    Example:
      toolkit demo
      toolkit demo -o runs/other-seed --seed 1
    """
    from toolkit.demo import run_demo
    from toolkit.table import print_reports

    with terminal.showing_progress() as progress:
        demo = run_demo(out, seed=seed, progress=progress)
    print_reports(demo.reports, terminal.console)
    terminal.say(f"packaged: {demo.packaged}, {demo.reason}")
    terminal.say(
        f"served: {demo.tag}, ready in {demo.served.start_seconds:.1f} s; {demo.served.agreed} of {demo.served.asked} "
        f"answers over HTTP are those of the process, p50 {demo.served.p50_ms:.2f} ms"
    )
    terminal.say(f"everything is in {out}, all numbers in {out / 'report.json'}; {demo.seconds['total']:.0f} s")
    terminal.say("next:")
    terminal.say(f"  toolkit verify {out}/baseline {out}/{demo.packaged} --data trec --max-drop 0.01")
    terminal.say(f"  toolkit serve {out}/{demo.packaged}")
    terminal.say("  toolkit train text --data YOUR.csv --net transformer --from minilm -o runs/yours")
    terminal.emit(json.loads((out / "report.json").read_bytes()), as_json=as_json)
