"""The one loop that trains every net: fine-tuning, distilling and recovering after pruning are calls of it.

What it promises: the same seed, machine and thread count give the same weights to the last bit; a run
that was killed goes on from its folder and ends with those same weights; the net it leaves is the best
on validation, not the last. It trains on the CPU, in one process or under torchrun.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toolkit.artifact import CORE
from toolkit.data import Split, hash_rows
from toolkit.encoders import Encoder, encoder_files
from toolkit.errors import DataError, InputError
from toolkit.lineage import digest_of, digest_of_bytes
from toolkit.progress import Progress, silent
from toolkit.spec import Array
from toolkit.train.batches import encode_rows
from toolkit.train.dropout import set_dropout
from toolkit.train.embeddings import used_rows_only
from toolkit.train.losses import Loss
from toolkit.train.overfitting import Epoch, watch_overfitting
from toolkit.train.parallel import World, join_world
from toolkit.train.randomness import reproducible
from toolkit.train.recipes import Recipe
from toolkit.train.run import Run

RANK_STRIDE = 7919  # seeds of processes lie far apart, so that seed 1 of one is not seed 0 of the next


@dataclass(frozen=True)
class Fitted:
    """A trained net with its best validation weights, and how it got there.

    `log` has one row an epoch, `warnings` what the overfitting watch saw, `seconds` is time spent
    training, earlier parts of a resumed run included.
    """

    net: nn.Module
    best_epoch: int
    epochs_run: int
    log: tuple[Epoch, ...]
    warnings: tuple[str, ...]
    validation_accuracy: float
    seconds: float


def fit(
    net: nn.Module,
    encoder: Encoder,
    train: Split,
    validation: Split,
    recipe: Recipe,
    *,
    loss: Loss | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train `net` in place (pass a copy) and return it with its best validation weights.

    `loss` replaces the recipe's cross-entropy; validation is always judged by cross-entropy and
    accuracy. `folder` gets checkpoints, log.csv and TensorBoard events, and a run found there goes on.

    Raises `DataError` for an empty split, `InputError` when `folder` is an artifact or holds another
    run, `RecipeError` when the loss stops being a number.
    """
    _check(train, validation, folder)
    recipe, world, started = recipe.resolve(), join_world(), time.perf_counter()
    with reproducible(recipe.seed + RANK_STRIDE * world.rank, recipe.threads):
        set_dropout(net, recipe.dropout)
        rows, held = encode_rows(encoder, train), encode_rows(encoder, validation)
        world.share_weights(net)
        key = "" if folder is None else _key_of_run(net, encoder, (train, validation), recipe, loss, world)
        with used_rows_only(net, rows, held):
            run = Run(net, rows, held, recipe, loss=loss, world=world, folder=folder, key=key, started=started)
            run.train(progress)
    position, log = run.position, tuple(run.position.log)
    best = log[position.best_epoch - 1]
    warnings = watch_overfitting(log, chance=_chance(held.labels), rows=len(run.sample))
    net.eval()
    return Fitted(net, best.epoch, len(log), log, warnings, best.validation_accuracy, position.seconds)


def _check(train: Split, validation: Split, folder: Path | None) -> None:
    for name, split in (("train", train), ("validation", validation)):
        if not len(split):
            raise DataError(f"the {name} split has no rows; training needs rows to learn from and rows to stop by")
    if len(np.unique(train.labels)) < 2:
        raise DataError("all training rows have one label; a classifier needs rows of two classes or more")
    if folder is not None and (folder / CORE).exists():
        raise InputError(f"{folder} is an artifact; checkpoints need a folder of their own")


def _chance(labels: Array) -> float:
    """The share of the commonest class: what always answering it would score."""
    return float(np.bincount(labels).max() / len(labels))


def _key_of_run(
    net: nn.Module, encoder: Encoder, splits: tuple[Split, ...], recipe: Recipe, loss: Loss | None, world: World
) -> str:
    """Digest of everything that decides the result; how often checkpoints are written does not."""
    weights = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    settings = {name: value for name, value in recipe.to_json().items() if not name.startswith("checkpoint_")}
    rows = [hash_rows(split.examples).tobytes() + split.labels.tobytes() for split in splits]
    return digest_of(
        {
            "recipe": settings,
            "weights": weights.hexdigest(),
            "rows": [digest_of_bytes(content) for content in rows],
            "encoder": {name: digest_of_bytes(content) for name, content in encoder_files(encoder).items()},
            "loss": "" if loss is None else getattr(loss, "__qualname__", type(loss).__qualname__),
            "processes": world.size,
        }
    )
