"""`toolkit prune`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option, out_option, recipe_option, seed_option
from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.classifier import Classifier
    from toolkit.compress.latency_table import LatencyTable
    from toolkit.data import Data
    from toolkit.progress import Progress

PATTERNS = ("magnitude", "2:4")


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--data", "reference", required=True, metavar="DATA", help="The data it was trained on.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option(
    "--keep", type=click.FloatRange(0, 1, min_open=True), required=True, help="Share to keep of what can be cut."
)
@click.option("--layers", type=click.IntRange(1), help="Layers to keep (transformer); default: all.")
@click.option("--width", type=click.IntRange(1), help="Hidden channels to keep (transformer); default: all.")
@click.option("--embedding", type=click.IntRange(1), metavar="N",
              help="Factorize the token table to N columns and a product (transformer): 96 or 128 of MiniLM's 384 keep "
              "every token in a third of the bytes; default: as it is.")  # fmt: skip
@click.option(
    "--by",
    type=click.Choice(["weights", "macs", "latency"]),
    default="weights",
    show_default=True,
    help="What --keep is a share of: weights; multiply-accumulates (cnn); latency, measured first, 10 to 30 s "
    "(transformer).",
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "fp32"]),
    default="int8",
    show_default=True,
    help="Precision that --by latency is measured in.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=1, show_default=True, help="Steps of the cut, recovery after each."
)
@click.option(
    "--mask",
    "pattern",
    type=click.Choice(PATTERNS),
    help="Set weights to zero instead of cutting: for GPUs; buys nothing on this runtime.",
)
@click.option(
    "--recover", type=click.IntRange(0), default=2, show_default=True, help="Epochs of recovery after the cut."
)
@recipe_option
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, keep: float, layers: int | None,
    width: int | None, embedding: int | None, by: str, precision: str, rounds: int, pattern: str | None, recover: int,
    recipe: Path | None, seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Cut what the trained classifier DIR would miss least, and train what is left to answer as before.

    \b
    Example:
      toolkit prune runs/trec --data trec --keep 0.5 --recover 3 -o runs/trec-pruned
      toolkit prune runs/trec --data trec --keep 0.5 --layers 4 --embedding 96 -o runs/trec-small
    """
    from toolkit.artifact import load_artifact
    from toolkit.classifier import load_classifier
    from toolkit.commands.finishing import finish_training, show_card
    from toolkit.commands.opening import data_of_classifier
    from toolkit.compress.mask import WARNING, mask
    from toolkit.compress.prune import prune
    from toolkit.lineage import digest_of
    from toolkit.nets import describe_net
    from toolkit.staging import staged
    from toolkit.train.recipes import default_recipe, read_recipe
    from toolkit.train.saving import WORK

    sizes = {"layers": layers, "width": width, "embedding": embedding}
    if pattern and (any(size is not None for size in sizes.values()) or rounds > 1 or by != "weights"):
        raise InputError(f"--mask {pattern} cuts nothing; leave out --layers, --width, --embedding, --rounds and --by")
    classifier = load_classifier(folder)
    kind = describe_net(classifier.net)["kind"]
    data = data_of_classifier(classifier, reference, text=text, label=label)
    chosen = replace(read_recipe(recipe, kind) if recipe else default_recipe(kind), seed=seed)
    how = {**sizes, "rounds": rounds, "by": by, "precision": precision, "mask": pattern}
    key = digest_of(["prune", classifier.parent, keep, how, recover, chosen.to_json()])
    with staged(out, key=key, force=force) as partial:
        with terminal.showing_progress() as progress:
            settings: dict[str, Any] = {
                "keep": keep, "recover": recover, "recipe": chosen, "folder": partial / WORK, "progress": progress,
            }  # fmt: skip
            if pattern:
                trained = mask(classifier, data, pattern=pattern, **settings)
            else:
                table = _table(classifier, data, width, precision, progress) if by == "latency" else None
                settings |= {**sizes, "rounds": rounds, "table": table}
                settings["by"] = "weights" if by == "latency" else by
                trained = prune(classifier, data, **settings)
        finish_training(trained, data, partial, name=out.name)
    done = f"masked ({pattern})" if pattern else f"cut to {trained.classifier.parameters:,} parameters"
    show_card(load_artifact(folder), out, data, step=f"{done}, {recover} epochs of recovery", as_json=as_json)
    if pattern:
        terminal.say(WARNING)
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")


def _table(classifier: Classifier, data: Data, width: int | None, precision: str, progress: Progress) -> LatencyTable:
    """The latency table of the net at the width that it is cut to, for the training rows' median length."""
    from toolkit.compress.latency_table import measure_latency_table, median_length
    from toolkit.nets.transformer import TransformerSizes

    sizes = classifier.net.sizes
    if not isinstance(sizes, TransformerSizes):
        raise InputError(
            f"--by latency measures the parts of a transformer; this is a {classifier.net.kind}; leave it out"
        )
    length = median_length(classifier.encoder, data.split("train").examples)
    sizes = replace(sizes, width=width or sizes.width)
    return measure_latency_table(sizes, length=length, precision=precision, progress=progress)
