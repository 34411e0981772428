"""`toolkit distill`."""

from __future__ import annotations

from dataclasses import replace
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
@click.option("--net", required=True, metavar="NET", help="The student: mlp, lstm or transformer; cnn; recommender.")
@click.option("--layers", type=click.IntRange(1), help="Layers of a transformer student, taken from the teacher.")
@click.option("--from", "start", metavar="minilm|FOLDER", help="Start the student from these weights instead.")
@click.option("--copies", type=click.IntRange(0), default=2, show_default=True,
              help="Noised copies of each training text, answered by the teacher.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, 100, min_open=True), default=2.0, show_default=True,
              help="Softens both answers.")  # fmt: skip
@click.option(
    "--alpha", type=click.FloatRange(0, 1), default=0.7, show_default=True, help="The teacher's share of the loss."
)
@click.option(
    "--hidden/--no-hidden", default=None, help="Match hidden states too; default: where both are transformers."
)
@epochs_option
@recipe_option
@seed_option
@out_option
@force_option
@json_option
def command(
    *, folder: Path, reference: str, text: str | None, label: str | None, net: str, layers: int | None,
    start: str | None, copies: int, temperature: float, alpha: float, hidden: bool | None, epochs: int | None,
    recipe: Path | None, seed: int, out: Path, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a smaller network to answer like TEACHER, a trained classifier or an exported artifact.

    \b
    Example:
      toolkit distill runs/trec --data trec --net transformer --layers 3 -o runs/trec-small
      toolkit distill runs/trec-onnx --data trec --net lstm --copies 6 -o runs/trec-lstm
    """
    from toolkit.artifact import load_artifact
    from toolkit.classifier import load_classifier
    from toolkit.commands.finishing import finish_training, show_card
    from toolkit.commands.opening import data_of
    from toolkit.compress.distill import distill
    from toolkit.compress.student import choose_student
    from toolkit.lineage import digest_of
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
    student = choose_student(teacher, data, net=net, layers=layers, start=start, dropout=chosen.dropout, seed=seed)
    if hidden is None:
        hidden = student.from_teacher
    texts = copies if artifact.spec.task == "text" else 0
    settings = ["distill", artifact.digest, net, layers, start, texts, temperature, alpha, hidden, chosen.to_json()]
    with staged(out, key=digest_of(settings), force=force) as partial:
        with terminal.showing_progress() as progress:
            trained = distill(
                teacher, data, student=student.net, encoder=student.encoder, recipe=chosen, temperature=temperature,
                alpha=alpha, hidden=hidden, copies=texts, folder=partial / WORK, progress=progress,
            )  # fmt: skip
        finish_training(trained, data, partial, name=out.name)
    step = f"learned in {trained.fitted.seconds:.0f} s, {trained.classifier.parameters:,} parameters"
    show_card(artifact, out, data, step=step, as_json=as_json)
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")
