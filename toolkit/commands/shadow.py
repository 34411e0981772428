"""`toolkit shadow`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.commands.deployment import demand_options, port_option, print_deployment
from toolkit.commands.options import FOLDER, json_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR", required=False)
@click.option("--status", is_flag=True, help="What it found so far.")
@click.option("--off", is_flag=True, help="End the comparison, and print what it found.")
@port_option
@demand_options
@json_option
def command(
    *, folder: Path | None, status: bool, off: bool, port: int | None,
    allow_new_labels: bool, allow_new_inputs: bool, require_gate: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compare the artifact DIR with what a running server answers, on its live requests; no client notices.

    \b
    Example:
      toolkit shadow runs/trec-int8-v2 --port 3000
      toolkit shadow --status --port 3000
      toolkit shadow --off --port 3000
    """
    if (folder is not None) + status + off != 1:
        raise click.UsageError("give one of DIR, --status and --off")
    from toolkit.serving.control import ask

    if folder is None:
        document = ask(port, "shadow-off" if off else "status")
    else:
        document = ask(
            port, "shadow", folder=str(folder.resolve()),
            allow_new_labels=allow_new_labels, allow_new_inputs=allow_new_inputs, require_gate=require_gate,
        )  # fmt: skip
    print_deployment(document, as_json=as_json)
