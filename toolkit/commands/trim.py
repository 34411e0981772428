"""`toolkit trim`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, force_option, json_option, out_option


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--data", "reference", required=True, metavar="DATA", help="The data it was trained on.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option("--floor", type=click.IntRange(1), default=1, show_default=True,
              help="How often training rows must hold a piece for it to stay.")  # fmt: skip
@click.option("--common", type=click.IntRange(0), default=0, show_default=True,
              help="So many of the first pieces stay too; tokenizers list the commonest first.")  # fmt: skip
@click.option("--unlabeled", type=FOLDER, metavar="FILE",
              help="More texts to count: lines (.txt), or a table and its column --text.")  # fmt: skip
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, floor: int, common: int,
    unlabeled: Path | None, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Leave out of the vocabulary of the trained text classifier DIR what its data does not use.

    Single signs stay, so an unseen word is spelled and not unknown; what that costs on validation rows is printed.

    \b
    Example:
      toolkit trim runs/trec --data trec --common 12000 -o runs/trec-trimmed
      toolkit trim runs/trec --data trec --floor 2 --unlabeled questions.txt -o runs/trec-trimmed
    """
    from toolkit.artifact import load_artifact
    from toolkit.classifier import load_classifier
    from toolkit.commands.finishing import show_card
    from toolkit.commands.opening import data_of_classifier
    from toolkit.compress.trim_vocabulary import trim_vocabulary
    from toolkit.data.unlabeled import read_texts
    from toolkit.lineage import digest_of
    from toolkit.staging import staged
    from toolkit.train.saving import save_trained

    classifier = load_classifier(folder)
    data = data_of_classifier(classifier, reference, text=text, label=label)
    texts = read_texts(unlabeled, text=text) if unlabeled else []
    with staged(out, key=digest_of(["trim", classifier.parent, floor, common, texts]), force=force) as partial:
        with terminal.showing_progress() as progress:
            trimmed = trim_vocabulary(classifier, data, floor=floor, common=common, texts=texts, progress=progress)
        save_trained(replace(trimmed.classifier, name=out.name), data, partial)
    coverage = trimmed.coverage
    terminal.say(
        f"{coverage.pieces_missing:.2%} of the pieces of validation rows, which were not counted, are now spelled in "
        f"smaller ones ({coverage.pieces_unknown:.2%} became unknown), in {coverage.rows_changed:.1%} of the rows"
    )
    step = f"{trimmed.pieces:,} of {trimmed.pieces_before:,} pieces kept"
    show_card(load_artifact(folder), out, data, step=step, as_json=as_json)
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")
