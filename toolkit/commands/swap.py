"""`toolkit swap`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.commands.deployment import demand_options, port_option, print_deployment
from toolkit.commands.options import FOLDER, json_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@port_option
@demand_options
@json_option
def command(
    *, folder: Path, port: int | None, allow_new_labels: bool, allow_new_inputs: bool, require_gate: bool, as_json: bool
) -> None:
    """Answer with the artifact DIR from now on, in a server that runs.

    It is verified, tried and warmed beside the version that answers, which keeps answering if anything about
    DIR is not right: exit 1 and the reason. The old version stays open for `toolkit rollback`.

    \b
    Example:
      toolkit swap runs/trec-int8-v2 --port 3000
      toolkit rollback --port 3000
    """
    from toolkit.serving.control import ask

    document = ask(
        port, "swap", folder=str(folder.resolve()),
        allow_new_labels=allow_new_labels, allow_new_inputs=allow_new_inputs, require_gate=require_gate,
    )  # fmt: skip
    print_deployment(document, as_json=as_json)
