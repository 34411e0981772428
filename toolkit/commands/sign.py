"""`toolkit sign`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, json_option
from toolkit.errors import InputError


@click.command()
@click.argument("folder", type=FOLDER, metavar="[DIR]", required=False)
@click.option("--key", type=FOLDER, metavar="PEM", help="Private key to sign with.")
@click.option("--new-key", type=FOLDER, metavar="PEM", help="Make a key here, NAME.public.pem beside it; sign with it.")
@json_option
def command(*, folder: Path | None, key: Path | None, new_key: Path | None, as_json: bool) -> None:
    """Sign the artifact DIR: every file of it, by its sha256, offline. The signature is evidence/signature.json.

    A server with TOOLKIT_VERIFY_KEY=PUBLIC.pem serves nothing else than what that key has signed.

    \b
    Example:
      toolkit sign --new-key keys/release.pem
      toolkit sign runs/trec-int8 --key keys/release.pem
      toolkit verify-signature runs/trec-int8 --key keys/release.public.pem
    """
    from toolkit.artifact import load_artifact
    from toolkit.signing import make_keys, sign

    if (key is None) == (new_key is None):
        raise InputError("give --key to sign with a key you have, or --new-key to make one")
    if folder is None and new_key is None:
        raise InputError("give the folder of the artifact to sign")
    artifact = None if folder is None else load_artifact(folder)
    document: dict[str, str] = {}
    if new_key is not None:
        document["public_key"] = str(make_keys(new_key))
        terminal.say(f"made {new_key} (keep it away from servers) and {document['public_key']} (servers need it)")
    if artifact is not None:
        document["signature"] = str(sign(artifact, key or new_key or Path()))
        document["digest"] = artifact.digest
        terminal.say(f"signed {artifact.name}, digest {artifact.digest[:12]}: {document['signature']}")
    terminal.emit(document, as_json=as_json)
