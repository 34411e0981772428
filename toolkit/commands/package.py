"""`toolkit package`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--name", help="Name of the bento; default: the artifact's.")
@click.option("--base-image", help="Image that `bentoml containerize` builds on; default: BentoML's.")
@click.option("--kubernetes", type=FOLDER, metavar="OUT", help="Write manifests too: one .yaml file, or a folder.")
@click.option("--image", help="Image in the manifests, REGISTRY/NAME:TAG; default: the bento's tag.")
@click.option("--secret", help="Secret whose entry `keys` is the file of API keys (toolkit key).")
@force_option
@json_option
def command(
    *, folder: Path, name: str | None, base_image: str | None, kubernetes: Path | None, image: str | None,
    secret: str | None, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Pack the ONNX artifact DIR as a bento, with everything that serving needs and no torch.

    With --kubernetes also manifests, made from what was measured of it.

    \b
    Example:
      toolkit package runs/trec-int8 --name trec
      bentoml serve trec:latest
      toolkit package runs/trec-int8 --name trec --kubernetes trec.yaml --image registry.local/trec:1
    """
    from toolkit.artifact import load_artifact
    from toolkit.errors import InputError
    from toolkit.kubernetes import describe_origin, make_manifests, write_manifests
    from toolkit.package import package

    if kubernetes is None and (image or secret):
        raise InputError("--image and --secret are for manifests; add --kubernetes OUT")
    artifact = load_artifact(folder)
    packed = package(artifact, name=name, base_image=base_image)
    document: dict[str, Any] = {"tag": packed.tag, "path": str(packed.path)}
    terminal.say(f"{packed.tag} in {packed.path}")
    if kubernetes is not None:
        manifests = make_manifests(artifact, image=image or packed.tag, secret=secret)
        written = write_manifests(manifests, kubernetes, head=describe_origin(artifact), force=force)
        document["kubernetes"] = [str(path) for path in written]
        for path in written:
            terminal.say(f"{path}")
        terminal.say(f"next: kubectl apply -f {kubernetes}")
    else:
        terminal.say(f"next: toolkit serve {packed.tag}")
    terminal.emit(document, as_json=as_json)
