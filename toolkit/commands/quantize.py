"""`toolkit quantize`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import force_option, json_option, out_option, seed_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--mode", type=click.Choice(["dynamic", "static", "weights", "fp16"]), default="static",
              show_default=True, help="8-bit products, scales taken at run time or from training rows; or "
              "small weights and float arithmetic, which on a CPU buys size and not time.")  # fmt: skip
@click.option("--target", type=click.Choice(["cpu", "tensorrt"]), default="cpu", show_default=True,
              help="Whose kernels the graph is for: unsigned with zero points, or symmetric.")  # fmt: skip
@click.option("--method", type=click.Choice(["minmax", "entropy", "percentile"]), default="minmax", show_default=True,
              help="How static calibration picks a range.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=256, show_default=True, help="Training rows to calibrate on.")
@click.option("--smooth", type=click.FloatRange(0, 1), metavar="ALPHA",
              help="Move outliers of activations into the weights first; try 0.75.")  # fmt: skip
@click.option("--bits", type=click.Choice(["8", "4"]), default="8", show_default=True, help="Of mode weights.")
@click.option("--table-bits", type=click.Choice(["8", "4"]), default="8", show_default=True,
              help="Of embedding tables; 4 halves them again, best after prune --embedding.")  # fmt: skip
@click.option("--keep-float", multiple=True, metavar="NODE", help="A node of the graph that stays float; repeatable.")
@click.option(
    "--mixed", is_flag=True, help="Put the operators that cost accuracy back to float until --max-drop holds."
)
@click.option(
    "--max-drop", type=click.FloatRange(0, 1), metavar="SHARE", help="What --mixed may lose on validation rows."
)
@click.option(
    "--audit", is_flag=True, help="Show what the calibration rows are worth; kept in evidence/calibration.json."
)
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
    *, folder: Path, mode: str, target: str, method: str, rows: int, smooth: float | None, bits: str,
    table_bits: str, keep_float: tuple[str, ...], mixed: bool, max_drop: float | None, audit: bool,
    reference: str | None, text: str | None, label: str | None, seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Store and run the ONNX artifact DIR in fewer bits, calibrated on training rows: never test, never random.

    \b
    Example:
      toolkit quantize runs/trec-onnx --data trec -o runs/trec-int8
      toolkit quantize runs/trec-onnx --data trec --mixed --max-drop 0.005 -o runs/trec-mixed
      toolkit quantize runs/trec-onnx --data trec --target tensorrt --audit -o runs/trec-trt
      toolkit quantize runs/trec-onnx --mode weights --bits 4 -o runs/trec-small
    """
    from toolkit.artifact import load_artifact
    from toolkit.commands.finishing import show_card
    from toolkit.commands.opening import data_of
    from toolkit.compress.audit import audit_calibration
    from toolkit.compress.quantize import quantize
    from toolkit.compress.scheme import Scheme
    from toolkit.compress.sensitivity import quantize_mixed
    from toolkit.errors import RecipeError
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    scheme = Scheme(mode, method, rows, seed, target, smooth, keep_float, int(bits), int(table_bits))
    if mixed != (max_drop is not None):
        raise RecipeError("--mixed and --max-drop go together: what may be lost, such as --mixed --max-drop 0.005")
    if audit and (mixed or mode != "static"):
        raise RecipeError("--audit is of the rows that --mode static calibrates on, without --mixed")
    artifact = load_artifact(folder)
    if reference is None and (scheme.calibrates or mixed):
        raise RecipeError(
            f"--mode {mode} as asked calibrates on training rows; add --data, or use --mode dynamic alone"
        )
    data = None if reference is None else data_of(artifact, reference, text=text, label=label)
    calibration = data.split("train") if data is not None and (scheme.calibrates or mixed) else None
    key = digest_of(["quantize", artifact.digest, asdict(scheme), max_drop])
    with staged(out, key=key, force=force) as partial, terminal.showing_progress() as progress:
        if mixed and data is not None and calibration is not None and max_drop is not None:
            made = quantize_mixed(
                artifact, partial, scheme, calibration=calibration, validation=data.split("validation"),
                max_drop=max_drop, name=out.name, progress=progress,
            )  # fmt: skip
        else:
            found = None
            if audit and data is not None and calibration is not None:
                found = audit_calibration(
                    artifact, calibration, test=data.splits.get("test"), rows=rows, method=method,
                    seeds=(seed, seed + 1, seed + 2), progress=progress,
                )  # fmt: skip
            made = quantize(
                artifact, partial, scheme, calibration=calibration, name=out.name, audit=found, progress=progress
            )
            if found is not None:
                terminal.show_table(("calibration", "found"), found.table())
    settings = made.core.steps[-1].settings
    if mixed:
        put_back = settings["mixed"]["put_back"]
        terminal.say(f"back to float: {', '.join(put_back) or 'nothing, all in few bits holds the margin'}")
    if "buys" in settings:
        terminal.say(f"mode {mode} buys {settings['buys']}")
    step = f"{mode}, {scheme.precision} for {target}"
    if data is not None:
        show_card(artifact, out, data, step=step, as_json=as_json)
    else:
        terminal.say(f"{out}: {made.size_bytes / 1e6:.1f} MB, was {artifact.size_bytes / 1e6:.1f} MB")
        terminal.emit({"folder": str(out), "after": {"size_bytes": made.size_bytes}}, as_json=as_json)
    terminal.say(f"next: toolkit verify {folder} {out} --data {reference or 'DATA'}")
