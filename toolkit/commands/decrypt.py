"""`toolkit decrypt`."""

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
    """Open the sealed artifact DIR into another folder, in plain.

    The key comes from TOOLKIT_ARTIFACT_KEY or the file TOOLKIT_ARTIFACT_KEY_FILE, as for toolkit encrypt.

    \b
    Example:
      toolkit decrypt runs/trec-sealed -o runs/trec-int8
    """
    from toolkit.artifact import load_artifact
    from toolkit.copies import write_plain
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    artifact = load_artifact(folder)
    with staged(out, key=digest_of(["decrypt", artifact.digest]), force=force) as partial:
        write_plain(artifact, partial)
    made = load_artifact(out)
    made.verify()
    terminal.say(f"{out} is plain: {made.name}, digest {made.digest[:12]} as before, {len(made.files)} files")
    terminal.emit({"folder": str(out), "digest": made.digest, "sealed": made.sealed}, as_json=as_json)
