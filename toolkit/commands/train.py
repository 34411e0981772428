"""`toolkit train`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from toolkit import terminal
from toolkit.commands.options import (
    data_options,
    dry_run_option,
    epochs_option,
    force_option,
    json_option,
    out_option,
    recipe_option,
    seed_option,
)


@click.command()
@click.argument("task", type=click.Choice(["text", "image", "recommend"]))
@data_options
@click.option(
    "--net",
    required=True,
    metavar="NET",
    help="text: mlp, lstm, textcnn, transformer; image: cnn; recommend: recommender.",
)
@click.option(
    "--from", "start", metavar="minilm|FOLDER", help="Start from these weights (a BERT-family checkpoint folder)."
)
@epochs_option
@recipe_option
@seed_option
@out_option
@force_option
@dry_run_option
@json_option
def command(
    *, task: str, reference: str, text: str | None, label: str | None, slices: tuple[str, ...], net: str,
    start: str | None, epochs: int | None, recipe: Path | None, seed: int, out: Path, force: bool,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a classifier for TASK and write it to a folder. Killed, the same command resumes.

    \b
    Example:
      toolkit train text --data trec --net transformer --from minilm -o runs/trec
      toolkit train image --data photos/ --net cnn --epochs 20 -o runs/photos
      torchrun --nproc-per-node 2 -m toolkit train text --data reviews.csv --net lstm -o runs/reviews
    """
    from toolkit.commands.finishing import finish_training, show_card
    from toolkit.data.loading import load_data
    from toolkit.lineage import digest_of
    from toolkit.staging import staged
    from toolkit.train import check_net, train
    from toolkit.train.recipes import default_recipe, read_recipe
    from toolkit.train.saving import WORK

    check_net(task, net, start)
    chosen = read_recipe(recipe, net) if recipe else default_recipe(net)
    chosen = replace(chosen, seed=seed, epochs=epochs or chosen.epochs)
    data = load_data(reference, task=task, seed=seed, text=text, label=label, slices=slices)
    settings: dict[str, Any] = {
        "net": net,
        "start": start,
        "recipe": chosen.to_json(),
        "split": data.record().to_json(),
    }
    if dry_run:
        terminal.say(f"would train {net} on {len(data.split('train')):,} rows of {data.name} for at most "
                     f"{chosen.epochs} epochs and write {out}")  # fmt: skip
        terminal.emit(settings, as_json=as_json)
        return
    if int(os.environ.get("RANK", "0")):  # torchrun's other processes train along; the first one writes and speaks
        train(data, net=net, start=start, recipe=chosen, folder=out.with_name(f"{out.name}.partial") / WORK)
        return
    with staged(out, key=digest_of(settings), force=force) as partial:
        with terminal.showing_progress() as progress:
            trained = train(data, net=net, start=start, recipe=chosen, folder=partial / WORK, progress=progress)
        finish_training(trained, data, partial, name=out.name)
    fitted = trained.fitted
    step = f"trained {fitted.epochs_run} epochs in {fitted.seconds:.0f} s, the best was epoch {fitted.best_epoch}"
    show_card(None, out, data, step=step, as_json=as_json)
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")
