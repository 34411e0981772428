"""`toolkit doctor`."""

from __future__ import annotations

import click

from toolkit import terminal
from toolkit.commands.options import json_option

MARKS = {"ok": "green", "warning": "yellow", "absent": "dim"}


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """What this machine can run: processors, INT8, runtimes, GPU, container tools, extras.

    \b
    Example:
      toolkit doctor
      toolkit doctor --json | jq .machine.flags
    """
    from rich.table import Table

    from toolkit.doctor import examine

    found = examine()
    machine = found.machine
    terminal.say(f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}")
    terminal.say(f"Python {machine.python}; " + ", ".join(f"{k} {v}" for k, v in machine.packages.items()))
    table = Table(box=None, pad_edge=False)
    for title in ("", "state", "found", "what to do"):
        table.add_column(title)
    for finding in found.findings:
        table.add_row(finding.subject, f"[{MARKS[finding.state]}]{finding.state}[/]", finding.words, finding.advice)
    terminal.console.print(table)
    terminal.emit(found.to_json(), as_json=as_json)
