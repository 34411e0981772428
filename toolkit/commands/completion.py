"""`toolkit completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(*, shell: str) -> None:
    """Print the tab completion of SHELL.

    \b
    Example:
      toolkit completion bash >> ~/.bashrc
      toolkit completion fish > ~/.config/fish/completions/toolkit.fish
    """
    from toolkit.cli import cli

    complete = get_completion_class(shell)
    assert complete is not None, "click knows the three shells that the choice allows"
    click.echo(complete(cli, {}, "toolkit", "_TOOLKIT_COMPLETE").source())
