"""`toolkit key`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.commands.options import json_option

file_option = click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), default="keys.json", show_default=True,
    help="The keys file, as toolkit serve --keys takes it.",
)  # fmt: skip


@click.group()
def command() -> None:
    """API keys of a server: only their digests are stored.

    \b
    Example:
      toolkit key add phone-app --file keys.json
      toolkit serve runs/trec-int8 --keys keys.json
      curl -s localhost:3000/v1/classify -H 'authorization: Bearer tk_...' \\
           -H 'content-type: application/json' -d '{"inputs": ["Who wrote Hamlet ?"]}'
    """


@command.command("add")
@click.argument("name")
@file_option
@json_option
def add(*, name: str, file: Path, as_json: bool) -> None:
    """Make a key for NAME and print it, once.

    \b
    Example:
      toolkit key add phone-app --file keys.json
    """
    import json

    from toolkit.serving.key_file import add_key

    key = add_key(file, name)
    click.echo(json.dumps({"name": name, "key": key, "file": str(file)}) if as_json else key)
    click.echo(f"{file} keeps only its digest: note the key down, it cannot be shown again", err=True)


@command.command("list")
@file_option
@json_option
def show(*, file: Path, as_json: bool) -> None:
    """The keys there are: name, day, first digits of the digest.

    \b
    Example:
      toolkit key list --file keys.json
    """
    import json
    from dataclasses import asdict

    from toolkit.serving.keys import read_keys

    keys = read_keys(file)
    if as_json:
        click.echo(json.dumps({"keys": [asdict(key) for key in keys]}))
        return
    for key in keys:
        click.echo(f"{key.name}  {key.created}  {key.sha256[:12]}")


@command.command("remove")
@click.argument("name")
@file_option
def remove(*, name: str, file: Path) -> None:
    """Withdraw the key of NAME; a running server refuses it within a second.

    \b
    Example:
      toolkit key remove phone-app --file keys.json
    """
    from toolkit.serving.key_file import remove_key

    remove_key(file, name)
    click.echo(f"{name} is no longer a key of {file}", err=True)
