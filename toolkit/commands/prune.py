"""`toolkit prune`."""

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
    "--keep", type=click.FloatRange(0, 1, min_open=True), required=True, help="Share of prunable weights to keep."
)
@click.option("--layers", type=click.IntRange(1), help="Layers to keep (transformer); default: all.")
@click.option(
    "--recover", type=click.IntRange(0), default=2, show_default=True, help="Epochs of recovery after the cut."
)
@recipe_option
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, keep: float, layers: int | None, recover: int,
    recipe: Path | None, seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Cut what the trained classifier DIR would miss least, and train what is left to answer as before.

    \b
    Example:
      toolkit prune runs/trec --data trec --keep 0.5 --recover 3 -o runs/trec-pruned
    """
    from toolkit.artifact import load_artifact
    from toolkit.classifier import load_classifier
    from toolkit.commands.finishing import finish_training, show_card
    from toolkit.commands.opening import data_of_classifier
    from toolkit.compress.prune import prune
    from toolkit.lineage import digest_of
    from toolkit.nets import describe_net
    from toolkit.staging import staged
    from toolkit.train.recipes import default_recipe, read_recipe
    from toolkit.train.saving import WORK

    classifier = load_classifier(folder)
    kind = describe_net(classifier.net)["kind"]
    data = data_of_classifier(classifier, reference, text=text, label=label)
    chosen = replace(read_recipe(recipe, kind) if recipe else default_recipe(kind), seed=seed)
    key = digest_of(["prune", classifier.parent, keep, layers, recover, chosen.to_json()])
    with staged(out, key=key, force=force) as partial:
        with terminal.showing_progress() as progress:
            trained = prune(classifier, data, keep=keep, layers=layers, recover=recover, recipe=chosen,
                            folder=partial / WORK, progress=progress)  # fmt: skip
        finish_training(trained, data, partial, name=out.name)
    step = f"cut to {trained.classifier.parameters:,} parameters, {recover} epochs of recovery"
    show_card(load_artifact(folder), out, data, step=step, as_json=as_json)
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")
