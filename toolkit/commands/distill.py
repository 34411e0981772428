"""`toolkit distill`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import (
    FOLDER,
    epochs_option,
    force_option,
    json_option,
    out_option,
    recipe_option,
    seed_option,
)


@click.command()
@click.argument("folder", type=FOLDER, metavar="TEACHER")
@click.option("--data", "reference", required=True, metavar="DATA", help="The data the teacher was trained on.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option(
    "--net", required=True, metavar="NET", help="The student: mlp, lstm, textcnn or transformer; cnn; recommender."
)
@click.option("--layers", type=click.IntRange(1),
              help="Layers of a transformer student, made from the teacher's where it is one.")  # fmt: skip
@click.option("--width", type=click.IntRange(1), help="Width of its embeddings; a transformer's hidden width.")
@click.option("--hidden-size", type=click.IntRange(1),
              help="Width of a hidden layer (mlp, lstm, recommender), filters of each kernel (textcnn).")  # fmt: skip
@click.option("--feed-forward", type=click.IntRange(1), help="Neurons of each layer's feed-forward (transformer).")
@click.option("--heads", type=click.IntRange(1), help="Attention heads of each layer (transformer).")
@click.option("--from", "start", metavar="minilm|FOLDER", help="Start the student from these weights instead.")
@click.option("--copies", type=click.IntRange(0), show_default="2 of texts, else 0",
              help="Noised copies of each training row, answered by the teacher.")  # fmt: skip
@click.option("--unlabeled", type=FOLDER, metavar="FILE",
              help="Texts without labels (txt, csv, tsv, jsonl, parquet), answered by the teacher.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, 100, min_open=True), default=2.0, show_default=True,
              help="Softens both answers.")  # fmt: skip
@click.option(
    "--alpha", type=click.FloatRange(0, 1), default=0.7, show_default=True, help="The teacher's share of the loss."
)
@click.option(
    "--hidden/--no-hidden", default=None, help="Match hidden states too; default: where both are transformers."
)
@click.option("--relations", is_flag=True, help="Match attention relations of the last layer too (transformers).")
@epochs_option
@recipe_option
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, net: str, layers: int | None,
    width: int | None, hidden_size: int | None, feed_forward: int | None, heads: int | None, start: str | None,
    copies: int | None, unlabeled: Path | None, temperature: float, alpha: float, hidden: bool | None, relations: bool,
    epochs: int | None, recipe: Path | None, seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a smaller network to answer like TEACHER, a trained classifier or an exported artifact.

    \b
    Example:
      toolkit distill runs/trec --data trec --net transformer --layers 3 -o runs/trec-small
      toolkit distill runs/trec --data trec --net transformer --layers 3 --width 256 --heads 4 --feed-forward 1024 \
        --relations -o runs/trec-narrow
      toolkit distill runs/trec-onnx --data trec --net lstm --copies 6 --unlabeled questions.txt -o runs/trec-lstm
    """
    from toolkit.artifact import load_artifact
    from toolkit.classifier import load_classifier
    from toolkit.commands.finishing import finish_training, show_card
    from toolkit.commands.opening import data_of
    from toolkit.compress.distill import distill
    from toolkit.compress.imitate import Objective
    from toolkit.compress.student import choose_student
    from toolkit.compress.student_sizes import sizes_of_words
    from toolkit.data import hash_rows
    from toolkit.errors import RecipeError
    from toolkit.lineage import digest_of, digest_of_bytes
    from toolkit.predictor import Predictor
    from toolkit.staging import staged
    from toolkit.train import check_net
    from toolkit.train.recipes import default_recipe, read_recipe
    from toolkit.train.saving import WORK

    artifact = load_artifact(folder)
    check_net(artifact.spec.task, net, start)
    trained_here = artifact.core.format == "safetensors"
    teacher = load_classifier(artifact) if trained_here else Predictor.load(artifact, threads=1)
    data = data_of(artifact, reference, text=text, label=label)
    chosen = read_recipe(recipe, net) if recipe else default_recipe(net)
    chosen = replace(chosen, seed=seed, epochs=epochs or chosen.epochs)
    words = {"width": width, "hidden_size": hidden_size, "feed_forward": feed_forward, "heads": heads}
    sizes = sizes_of_words(net, words)
    if unlabeled is not None and artifact.spec.task != "text":
        raise RecipeError(
            f"--unlabeled is a file of texts, and this model takes {artifact.spec.task} data; leave it out"
        )
    texts: list[str] = []
    if unlabeled is not None:
        from toolkit.data.unlabeled import read_texts

        texts = read_texts(unlabeled, text=text)
    student = choose_student(
        teacher, data, net=net, layers=layers, start=start, sizes=sizes, dropout=chosen.dropout, seed=seed
    )
    objective = Objective(temperature, alpha, student.from_teacher if hidden is None else hidden, relations)
    if copies is None:
        copies = 2 if artifact.spec.task == "text" else 0
    settings = ["distill", artifact.digest, net, layers, start, sizes, copies, asdict(objective), chosen.to_json(),
                digest_of_bytes(hash_rows(texts).tobytes())]  # fmt: skip
    with staged(out, key=digest_of(settings), force=force) as partial:
        with terminal.showing_progress() as progress:
            trained = distill(
                teacher, data, student=student.net, encoder=student.encoder, recipe=chosen, objective=objective,
                copies=copies, unlabeled=texts, inherited=student.inherited, folder=partial / WORK, progress=progress,
            )  # fmt: skip
        finish_training(trained, data, partial, name=out.name)
    step = f"learned in {trained.fitted.seconds:.0f} s, {trained.classifier.parameters:,} parameters"
    show_card(artifact, out, data, step=step, as_json=as_json)
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")
