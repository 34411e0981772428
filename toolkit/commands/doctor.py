"""`toolkit doctor`."""

from __future__ import annotations

import click

from toolkit import terminal
from toolkit.commands.options import json_option


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """What this machine can run: processors, INT8, runtimes, GPU, container tools, extras.

    \b
    Example:
      toolkit doctor
      toolkit doctor --json | jq .machine.flags
    """
    from toolkit.doctor import examine

    found = examine()
    machine = found.machine
    terminal.say(
        f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}"
    )
    terminal.say(f"Python {machine.python}; " + ", ".join(f"{k} {v}" for k, v in machine.packages.items()))
    rows = [(f.subject, f.state, f.words, f.advice) for f in found.findings]
    terminal.show_table(("", "state", "found", "what to do"), rows)
    terminal.emit(found.to_json(), as_json=as_json)
