"""`toolkit package`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, json_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--name", help="Name of the bento; default: the artifact's.")
@json_option
def command(*, folder: Path, name: str | None, as_json: bool) -> None:
    """Pack the ONNX artifact DIR as a bento, with everything that serving needs and no torch.

    \b
    Example:
      toolkit package runs/trec-int8 --name trec
      bentoml serve trec:latest
    """
    from toolkit.artifact import load_artifact
    from toolkit.package import package

    packed = package(load_artifact(folder), name=name)
    terminal.say(f"{packed.tag} in {packed.path}")
    terminal.say(f"next: toolkit serve {packed.tag}")
    terminal.emit({"tag": packed.tag, "path": str(packed.path)}, as_json=as_json)
