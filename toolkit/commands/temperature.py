"""`toolkit temperature`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option, out_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--data", "reference", required=True, metavar="DATA", help="The data it was trained on.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, out: Path, force: bool, as_json: bool
) -> None:
    """Fit the temperature of the artifact DIR again, on validation rows: scores that mean what they say.

    Labels stay what they were. Worth it where verify shows that the calibration error grew.

    \b
    Example:
      toolkit temperature runs/trec-int8 --data trec -o runs/trec-calibrated
    """
    from toolkit.artifact import load_artifact
    from toolkit.commands.finishing import show_card
    from toolkit.commands.opening import data_of
    from toolkit.compress.temperature import refit_temperature
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    artifact = load_artifact(folder)
    data = data_of(artifact, reference, text=text, label=label)
    validation = data.split("validation")
    key = digest_of(["temperature", artifact.digest])
    with staged(out, key=key, force=force) as partial, terminal.showing_progress() as progress:
        made = refit_temperature(artifact, partial, validation=validation, name=out.name, progress=progress)
    found = made.core.steps[-1].settings
    step = f"temperature {found['temperature_before']:.3g} to {found['temperature']:.3g}"
    if not found["changed"]:
        step = f"temperature {found['temperature']:.3g} as before: no other suits the validation rows better"
    terminal.say(
        f"calibration error {found['calibration_error_before']:.4f} before, {found['calibration_error']:.4f} after, "
        f"on the {found['rows']:,} rows that it was fitted on"
    )
    show_card(artifact, out, data, step=step, as_json=as_json)
    terminal.say(f"next: toolkit verify {folder} {out} --data {reference}")
