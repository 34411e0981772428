"""What the training tests share: 256 real TREC rows and the last two layers' worth of real MiniLM."""

from __future__ import annotations

import copy
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolkit.data import Split
from toolkit.data.loading import load_data
from toolkit.encoders.text import TokenEncoder
from toolkit.train.fit import Fitted, fit
from toolkit.train.preparation import Prepared
from toolkit.train.recipes import Recipe
from toolkit.train.texts import prepare_text

TRAIN_ROWS, VALIDATION_ROWS = 192, 64


@cache
def trec_rows() -> tuple[Split, Split]:
    """192 rows to train on and 64 to validate with, out of TREC's training split."""
    rows = load_data("trec").split("train")
    return rows.take(range(TRAIN_ROWS)), rows.take(range(TRAIN_ROWS, TRAIN_ROWS + VALIDATION_ROWS))


@cache
def _prepared(layers: int) -> Prepared:
    torch.manual_seed(0)
    texts = trec_rows()[0].examples
    return prepare_text("transformer", texts, labels=6, start="minilm", sizes={"layers": layers}, dropout=0.1)


def minilm(layers: int = 2) -> tuple[nn.Module, TokenEncoder]:
    """A fresh copy of MiniLM cut to `layers`, under a head of 6 classes, and its encoder."""
    prepared = _prepared(layers)
    assert isinstance(prepared.encoder, TokenEncoder)
    return copy.deepcopy(prepared.net), prepared.encoder


def make_recipe(**settings: Any) -> Recipe:
    """A short fp32 run on one thread without dropout; `settings` over it."""
    quiet = {"epochs": 1, "batch_size": 16, "learning_rate": 5e-4, "dropout": 0.0, "patience": 0, "threads": 1}
    return Recipe(**{**quiet, "precision": "fp32", "checkpoint_seconds": 0.0, **settings})


def fit_rows(
    rows: int, *, layers: int = 1, folder: Path | None = None, settings: Any = None, **arguments: Any
) -> Fitted:
    """Fit a cut MiniLM on the first `rows` TREC rows with `make_recipe(**settings)`."""
    net, encoder = minilm(layers)
    train, validation = trec_rows()
    recipe = make_recipe(**(settings or {}))
    return fit(net, encoder, train.take(range(rows)), validation.take(range(16)), recipe, folder=folder, **arguments)


def digest_of_weights(net: nn.Module) -> str:
    """sha256 of every weight's bytes, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
