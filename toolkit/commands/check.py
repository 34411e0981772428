"""`toolkit check`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, json_option
from toolkit.errors import ArtifactError


@click.command()
@click.argument("folder", type=FOLDER)
@json_option
def command(*, folder: Path, as_json: bool) -> int:
    """Is the artifact FOLDER whole? Every digest, then the golden rows through the model itself.

    Leaves with 0 when it is and 1 when it is not.

    \b
    Example:
      toolkit check runs/trec-int8
    """
    from toolkit.artifact import load_artifact
    from toolkit.predictor import Predictor

    if not folder.exists():
        raise ArtifactError(f"{folder} does not exist; give a folder made by toolkit train, export or quantize")
    try:
        artifact = load_artifact(folder)
        with Predictor.load(artifact) as predictor:
            facts = predictor.runner.facts()
    except ArtifactError as error:
        terminal.say(f"{folder} is not whole: {error}")
        terminal.emit({"whole": False, "reason": str(error)}, as_json=as_json)
        return 1
    steps = " → ".join(step.name for step in artifact.core.steps)
    terminal.say(
        f"{folder} is whole: {artifact.name}, {steps}, {artifact.core.precision}, digest {artifact.digest[:12]}"
    )
    document = {
        "whole": True,
        "name": artifact.name,
        "digest": artifact.digest,
        "runs_on": facts,
        "size_bytes": artifact.size_bytes,
        "steps": [step.to_json() for step in artifact.core.steps],
    }
    terminal.emit(document, as_json=as_json)
    return 0
