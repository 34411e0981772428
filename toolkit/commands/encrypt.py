"""`toolkit encrypt`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option, out_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@out_option
@force_option
@json_option
def command(*, folder: Path, out: Path, force: bool, as_json: bool) -> None:
    """Seal the artifact DIR with AES-256-GCM into another folder, which is served, measured and packaged like it.

    The key comes from TOOLKIT_ARTIFACT_KEY (32 bytes in base64 or hex) or the file TOOLKIT_ARTIFACT_KEY_FILE, here
    and wherever the folder is opened. artifact.json stays readable; reports and other evidence that may quote rows
    are left out. Sign first: the signature holds for the sealed folder too.

    \b
    Example:
      export TOOLKIT_ARTIFACT_KEY=$(openssl rand -base64 32)
      toolkit encrypt runs/trec-int8 -o runs/trec-sealed
      toolkit serve runs/trec-sealed
    """
    from toolkit.artifact import load_artifact
    from toolkit.copies import write_sealed
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    artifact = load_artifact(folder)
    with staged(out, key=digest_of(["encrypt", artifact.digest]), force=force) as partial:
        write_sealed(artifact, partial)
    made = load_artifact(out)
    made.verify()
    terminal.say(f"{out} is sealed: {made.name}, digest {made.digest[:12]} as before, {len(made.files)} files")
    terminal.emit({"folder": str(out), "digest": made.digest, "sealed": made.sealed}, as_json=as_json)
