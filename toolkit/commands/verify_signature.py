"""`toolkit verify-signature`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, json_option
from toolkit.errors import ArtifactError


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--key", type=FOLDER, metavar="PEM", required=True, help="Public key of whoever should have signed it.")
@json_option
def command(*, folder: Path, key: Path, as_json: bool) -> int:
    """Did the owner of the key sign the artifact DIR, and is every file the one that was signed?

    Leaves with 0 when that is so and 1 when it is not.

    \b
    Example:
      toolkit verify-signature runs/trec-int8 --key keys/release.public.pem
    """
    from toolkit.artifact import load_artifact
    from toolkit.signing import check_signature

    if not folder.exists():
        raise ArtifactError(f"{folder} does not exist; give a folder made by toolkit train, export or quantize")
    try:
        artifact = load_artifact(folder)
        check_signature(artifact, key)
        artifact.verify()
    except ArtifactError as error:
        terminal.say(f"{folder} is not signed so: {error}")
        terminal.emit({"signed": False, "reason": str(error)}, as_json=as_json)
        return 1
    terminal.say(f"{folder} is signed: {artifact.name}, digest {artifact.digest[:12]}, {len(artifact.files) + 1} files")
    terminal.emit({"signed": True, "digest": artifact.digest, "files": len(artifact.files) + 1}, as_json=as_json)
    return 0
