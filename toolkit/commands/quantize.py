"""`toolkit quantize`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import force_option, json_option, out_option, seed_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--mode", type=click.Choice(["dynamic", "static"]), default="static", show_default=True,
              help="Scales of activations: measured at run time, or calibrated on training rows.")  # fmt: skip
@click.option("--method", type=click.Choice(["minmax", "entropy", "percentile"]), default="minmax", show_default=True,
              help="How static calibration picks a range.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=256, show_default=True, help="Training rows to calibrate on.")
@click.option(
    "--data", "reference", metavar="DATA", help="The data it was trained on: to calibrate, and to judge the result."
)
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, mode: str, method: str, rows: int, reference: str | None, text: str | None, label: str | None,
    seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Turn the ONNX artifact DIR into INT8, calibrated on training rows: never test, never random.

    \b
    Example:
      toolkit quantize runs/trec-onnx --mode static --data trec -o runs/trec-int8
      toolkit quantize runs/trec-onnx --mode dynamic -o runs/trec-dynamic
    """
    from toolkit.artifact import load_artifact
    from toolkit.commands.finishing import show_card
    from toolkit.commands.opening import data_of
    from toolkit.compress.quantize import quantize
    from toolkit.errors import RecipeError
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    artifact = load_artifact(folder)
    if mode == "static" and reference is None:
        raise RecipeError("--mode static calibrates on training rows; add --data, or use --mode dynamic")
    data = None if reference is None else data_of(artifact, reference, text=text, label=label)
    calibration = None if data is None or mode == "dynamic" else data.split("train")
    key = digest_of(["quantize", artifact.digest, mode, method, rows, seed])
    with staged(out, key=key, force=force) as partial, terminal.showing_progress() as progress:
        made = quantize(
            artifact, partial, mode=mode, calibration=calibration, method=method, rows=rows, seed=seed, name=out.name,
            progress=progress,
        )  # fmt: skip
    if data is not None:
        show_card(artifact, out, data, step=f"{mode} INT8", as_json=as_json)
    else:
        terminal.say(f"{out}: {made.size_bytes / 1e6:.1f} MB, was {artifact.size_bytes / 1e6:.1f} MB")
        terminal.emit({"folder": str(out), "after": {"size_bytes": made.size_bytes}}, as_json=as_json)
    terminal.say(f"next: toolkit verify {folder} {out} --data {reference or 'DATA'}")
