"""Cut heads, feed-forward neurons, layers or convolution channels out of a net that is already trained.

What goes is what the loss would miss least (`importance`), weighed against the weights it saves, over all
layers at once: one that does little loses more than one that does much. The result is an ordinary
net with smaller sizes, so it is faster everywhere; a mask of zeros would be faster nowhere. Rounded to what
kernels like: neurons in blocks of 32, channels of 8. What the cut cost is mostly won back by `recover` epochs of
imitating the unpruned net, its hidden states included (transformers).
Limit: widths that residual sums tie together (a transformer's width, a cnn's stages) stay; an lstm, an
mlp and a recommender are refused: distill into a smaller one.

Source: Michel et al. 2019 (arXiv:1905.10650); Molchanov et al. 2019 (arXiv:1906.10771); Xia et al. 2022,
CoFi (arXiv:2204.00408) for recovery by layer-wise distillation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from toolkit.classifier import Classifier, copy_net
from toolkit.compress.cut_cnn import cut_cnn
from toolkit.compress.cut_transformer import cut_transformer
from toolkit.compress.distill import check_data
from toolkit.compress.imitate import Objective, as_predictor, digest_of_teacher, imitate, teacher_answers
from toolkit.data import Data, Split
from toolkit.encoders import Encoder
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import Step
from toolkit.nets import describe_net
from toolkit.progress import Progress, silent
from toolkit.train import Trained
from toolkit.train.fit import Fitted
from toolkit.train.randomness import reproducible
from toolkit.train.recipes import Recipe, default_recipe

# kind of net -> net, encoder, rows, keep, layers to keep, progress -> a smaller net
Cut = Callable[[nn.Module, Encoder, Split, float, int | None, Progress], nn.Module]
CUTS: dict[str, Cut] = {"transformer": cut_transformer, "cnn": cut_cnn}
ROWS = 512


def prune(
    classifier: Classifier,
    data: Data,
    *,
    keep: float,
    layers: int | None = None,
    recover: int = 2,
    recipe: Recipe | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """A smaller net with `keep` of the weights of what can be cut, and `layers` of its layers (None: all).

    `recover` epochs of imitation follow (0: none), by `recipe` (its epochs are replaced). keep 1.0 and all
    layers give the same net. Raises `RecipeError` for a value out of its range, `InputError` for a kind of net
    that cannot be cut, `DataError` when `data` was split otherwise than when it was trained.
    """
    kind = describe_net(classifier.net)["kind"]
    if kind not in CUTS:
        raise InputError(f"a net of kind {kind} cannot be pruned; allowed: {', '.join(CUTS)}; distill it instead")
    if not 0.0 < keep <= 1.0:
        raise RecipeError(f"keep is {keep}; allowed: above 0, to 1.0, the share of prunable weights that stays")
    if recover < 0:
        raise RecipeError(f"recover is {recover}; allowed: 0 or more epochs")
    check_data(classifier, data)
    recipe = replace(recipe or default_recipe(kind), epochs=max(recover, 1)).resolve()
    with reproducible(recipe.seed, recipe.threads):
        rows = _choose_rows(data.split("train"), recipe.seed)
        # on a copy: hooks are hung on it and gradients run through it
        small = CUTS[kind](copy_net(classifier.net), classifier.encoder, rows, keep, layers, progress)
    changed = describe_net(small)["sizes"] != describe_net(classifier.net)["sizes"]
    if changed and recover:
        fitted = _recover(classifier, small, data, recipe, folder, progress)
    else:
        fitted = _measure(classifier, small, data.split("validation"), recipe.threads)
    settings: dict[str, Any] = {
        "original": digest_of_teacher(classifier),
        "keep": keep,
        "layers": layers,
        "rows": len(rows),
        "sizes": describe_net(small)["sizes"],
        "parameters_before": classifier.parameters,
        "parameters": sum(parameter.numel() for parameter in small.parameters()),
        "recover": recover if changed else 0,
        "recipe": recipe.to_json() if changed and recover else None,
        "warnings": list(fitted.warnings),
    }
    return Trained(classifier.after(Step("prune", settings), fitted.net), fitted, fitted.warnings)


def _choose_rows(train: Split, seed: int) -> Split:
    chosen = np.random.default_rng(seed).permutation(len(train))[:ROWS]
    return train.take(np.sort(chosen))


def _recover(
    original: Classifier, small: nn.Module, data: Data, recipe: Recipe, folder: Path | None, progress: Progress
) -> Fitted:
    """Train `small` to imitate the unpruned net; of a transformer also its hidden states."""
    train = data.split("train")
    answers = teacher_answers(original, train.examples, folder=folder, threads=recipe.threads, progress=progress)
    return imitate(
        original,
        small,
        original.encoder,
        train,
        data.split("validation"),
        recipe,
        answers=answers,
        objective=Objective(hidden=describe_net(small)["kind"] == "transformer"),
        folder=folder,
        progress=progress,
    )


def _measure(classifier: Classifier, small: nn.Module, validation: Split, threads: int) -> Fitted:
    """No training: the net as it was cut, and how it does on the validation rows."""
    with reproducible(0, threads):
        logits = as_predictor(replace(classifier, net=small), threads=threads).logits(validation.examples)
    accuracy = float((logits.argmax(axis=1) == validation.labels).mean())
    return Fitted(small.eval(), 0, 0, (), (), accuracy, 0.0)
