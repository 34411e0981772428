"""`toolkit rollback`."""

from __future__ import annotations

import click

from toolkit.commands.deployment import port_option, print_deployment
from toolkit.commands.options import json_option


@click.command()
@port_option
@json_option
def command(*, port: int | None, as_json: bool) -> None:
    """Answer with the previous version again, at once; a second time goes forth again.

    \b
    Example:
      toolkit rollback --port 3000
    """
    from toolkit.serving.control import ask

    print_deployment(ask(port, "rollback"), as_json=as_json)
