"""`toolkit quantize-aware`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option, out_option, recipe_option, seed_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--data", "reference", required=True, metavar="DATA", help="The data it was trained on.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option(
    "--epochs", type=click.IntRange(0), default=2, show_default=True, help="Epochs of training; 0: calibrate only."
)
@click.option("--target", type=click.Choice(["cpu", "tensorrt"]), default="cpu", show_default=True,
              help="Whose kernels the graph is for: unsigned activations, or symmetric signed.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=256, show_default=True, help="Training rows to calibrate on.")
@recipe_option
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, epochs: int, target: str, rows: int,
    recipe: Path | None, seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train the classifier DIR to stand INT8, and write the ONNX artifact: training and export in one step.

    Weights and activations are rounded while it learns to answer as it did in float, by its recipe at a tenth of
    the learning rate. For transformers and cnns; needs the extra [quantize-aware].

    \b
    Example:
      toolkit quantize-aware runs/trec --data trec --epochs 2 -o runs/trec-aware
    """
    from toolkit.artifact import load_artifact
    from toolkit.classifier import load_classifier
    from toolkit.commands.finishing import print_warnings, show_card
    from toolkit.commands.opening import data_of_classifier
    from toolkit.compress.quantize_aware import aware_recipe, quantize_aware
    from toolkit.lineage import digest_of
    from toolkit.nets import describe_net
    from toolkit.staging import staged
    from toolkit.train.recipes import read_recipe
    from toolkit.train.saving import WORK, keep_log

    classifier = load_classifier(folder)
    kind = describe_net(classifier.net)["kind"]
    data = data_of_classifier(classifier, reference, text=text, label=label)
    chosen = replace(read_recipe(recipe, kind) if recipe else aware_recipe(kind), seed=seed)
    key = digest_of(["quantize-aware", classifier.parent, epochs, target, rows, chosen.to_json()])
    with staged(out, key=key, force=force) as partial:
        with terminal.showing_progress() as progress:
            made = quantize_aware(replace(classifier, name=out.name), data, partial, epochs=epochs, recipe=chosen,
                                  target=target, rows=rows, work=partial / WORK, progress=progress)  # fmt: skip
        keep_log(partial)
    print_warnings(made.fitted.warnings)
    terminal.say(f"difference from PyTorch, relative: at most {made.parity.max_relative_difference:.1e} without "
                 f"rounding, median {made.median_rounded:.1e} with it")  # fmt: skip
    show_card(load_artifact(folder), out, data, step=f"INT8, {epochs} epochs aware of it", as_json=as_json)
    terminal.say(f"next: toolkit verify {folder} {out} --data {reference}")
