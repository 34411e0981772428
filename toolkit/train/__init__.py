"""Data to a trained classifier: an encoder from the training rows, a net, one loop, and the lineage of it all.

Only training rows teach: the encoder's vocabulary, picture statistics and field scales come from them,
validation rows choose when to stop, test rows are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.classifier import Classifier
from toolkit.data import Data, hash_rows
from toolkit.errors import RecipeError
from toolkit.lineage import Step
from toolkit.progress import Progress, silent
from toolkit.spec import Array, Spec
from toolkit.train.fit import Fitted, fit
from toolkit.train.pictures import prepare_picture
from toolkit.train.preparation import Prepared
from toolkit.train.randomness import reproducible
from toolkit.train.recipes import Recipe, default_recipe
from toolkit.train.records import prepare_record
from toolkit.train.texts import prepare_text

# task -> the nets that can learn it
NETS = {"text": ("mlp", "lstm", "textcnn", "transformer"), "image": ("cnn",), "recommend": ("recommender",)}


@dataclass(frozen=True)
class Trained:
    """A classifier and the run that made it; `warnings` are the run's and the encoder's together."""

    classifier: Classifier
    fitted: Fitted
    warnings: tuple[str, ...] = ()


def train(
    data: Data,
    *,
    net: str,
    start: str | Path | None = None,
    recipe: Recipe | None = None,
    folder: Path | None = None,
    sizes: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train a net of kind `net` on the train split of `data`, stopped by its validation split.

    `start`: "minilm" or a BERT-family checkpoint folder (transformer, lstm, textcnn), None for random weights.
    `folder`: where checkpoints and the log go; the same call with the same folder goes on after a crash.
    `sizes`: in place of the defaults of the net, by name. Raises `RecipeError`, `DataError`,
    `ArtifactError` or `InputError` in one line for what cannot be used.
    """
    check_net(data.task, net, start)
    recipe = (recipe or default_recipe(net)).resolve()
    train_split, validation = data.split("train"), data.split("validation")
    with reproducible(recipe.seed, recipe.threads):
        prepared = prepare_net(data, net, start, sizes, recipe.dropout)
    fitted = fit(prepared.net, prepared.encoder, train_split, validation, recipe, folder=folder, progress=progress)
    warnings = (*prepared.warnings, *fitted.warnings)
    settings = {
        "net": net,
        "start": prepared.start,
        "recipe": recipe.to_json(),
        "epochs_run": fitted.epochs_run,
        "best_epoch": fitted.best_epoch,
        "warnings": list(warnings),
    }
    encoder = prepared.encoder
    classifier = Classifier(
        name=f"{data.name}-{net}",
        net=fitted.net,
        spec=Spec(data.task, encoder.inputs, data.labels, encoder.limits),
        encoder=encoder,
        steps=(Step("train", settings),),
        split=data.record(),
        training_rows=rows_learned_from(data),
    )
    return Trained(classifier, fitted, warnings)


def rows_learned_from(data: Data) -> Array:
    """uint64, sorted, distinct: hashes of the rows that a model of `data` must never be tested on."""
    hashes = [hash_rows(data.splits[name].examples) for name in ("train", "validation") if name in data.splits]
    return np.unique(np.concatenate(hashes))


def check_net(task: str, net: str, start: str | Path | None) -> None:
    """Raise `RecipeError` for a net that does not learn this task, or a start that it cannot use."""
    allowed = NETS[task]
    if net not in allowed:
        raise RecipeError(f"net is {net!r}; for {task} data allowed: {', '.join(allowed)}")
    if start is not None and task != "text":
        raise RecipeError(f"start is {str(start)!r}; a {net} starts from nothing, leave it out")


def prepare_net(
    data: Data, net: str, start: str | Path | None, sizes: Mapping[str, Any] | None, dropout: float
) -> Prepared:
    """An untrained net of kind `net` for `data` and the encoder it reads, made from its training rows."""
    examples, labels = data.split("train").examples, len(data.labels)
    if data.task == "text":
        return prepare_text(net, examples, labels=labels, start=start, sizes=sizes, dropout=dropout)
    prepare = prepare_picture if data.task == "image" else prepare_record
    return prepare(examples, labels=labels, sizes=sizes, dropout=dropout)
