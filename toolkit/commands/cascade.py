"""`toolkit cascade`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option, out_option

MAX_DROP = 0.005


@click.command()
@click.argument("small_folder", type=FOLDER, metavar="SMALL")
@click.argument("large_folder", type=FOLDER, metavar="LARGE")
@click.option("--data", "reference", required=True, metavar="DATA",
              help="The data they were trained on; its validation rows decide.")  # fmt: skip
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option("--max-drop", type=click.FloatRange(0, 1),
              help=f"Accuracy below LARGE's that may be lost: 0.01 is one point; default {MAX_DROP}.")  # fmt: skip
@click.option("--share", type=click.FloatRange(0, 1), help="Share of rows to defer, instead of --max-drop.")
@out_option
@force_option
@json_option
def command(
    *, small_folder: Path, large_folder: Path, reference: str, text: str | None, label: str | None,
    max_drop: float | None, share: float | None, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """SMALL answers, and the rows that it is unsure of go to LARGE: one artifact of both ONNX models.

    The threshold is chosen on validation rows: as few rows deferred as keep the accuracy. The card compares with
    LARGE, and shows the mean beside p50 and p99, since a deferred row pays for both models.

    \b
    Example:
      toolkit cascade runs/trec-small-int8 runs/trec-int8 --data trec --max-drop 0.005 -o runs/trec-cascade
      toolkit cascade runs/trec-small-int8 runs/trec-int8 --data trec --share 0.2 -o runs/trec-cascade
    """
    from toolkit.artifact import load_artifact
    from toolkit.commands.finishing import show_card
    from toolkit.commands.opening import data_of
    from toolkit.compress.cascade import cascade, describe_router
    from toolkit.errors import DataError, RecipeError
    from toolkit.lineage import digest_of
    from toolkit.staging import staged

    if max_drop is not None and share is not None:
        raise RecipeError("--max-drop and --share both say how much is deferred; give one of them")
    if share is None and max_drop is None:
        max_drop = MAX_DROP
    small, large = load_artifact(small_folder), load_artifact(large_folder)
    data = data_of(large, reference, text=text, label=label)
    if "validation" not in data.splits:
        raise DataError(f"{reference} has no validation rows of {large_folder}; give the data that it was trained on")
    key = digest_of(["cascade", small.digest, large.digest, max_drop, share, data.record().to_json()])
    with staged(out, key=key, force=force) as partial, terminal.showing_progress() as progress:
        made = cascade(
            small, large, partial, validation=data.split("validation"), max_drop=max_drop, share=share, name=out.name,
            progress=progress,
        )  # fmt: skip
    router = made.core.router
    show_card(large, out, data, step="cascade" if router is None else describe_router(router), as_json=as_json)
    terminal.say(f"next: toolkit verify {large_folder} {out} --data {reference}")
