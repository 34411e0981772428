"""Cut heads, neurons, layers, hidden width or convolution channels out of a net that is already trained.

What goes is what the loss would miss least (`importance`), weighed against the weights it saves, against its
multiply-accumulates (cnn), or, with a `latency_table`, against the microseconds measured on this machine: one
layer that does little loses more than one that does much. The result is an ordinary net with smaller sizes, so it
is faster everywhere; a mask of zeros would be faster nowhere (`mask`). Rounded to what kernels like: neurons and
width in blocks of 32, channels of 8. What the cut cost is mostly won back by `recover` epochs of imitating the
unpruned net, its hidden states included (transformers).

In several `rounds` the cut goes deeper along a cubic schedule, most of it early while there is most to spare,
with importance measured anew and some epochs of recovery after each. Each round costs one more measurement.
A table of tokens is no unit: it is looked up, and half of the bytes. `factorize` makes it narrower and keeps every
token; the hidden width goes first, since the components are of the table that is left.
Limit: an lstm, an mlp and a recommender are refused: distill into a smaller one. Nets of your own:
`prune_graph`.

Source: Michel et al. 2019 (arXiv:1905.10650); Molchanov et al. 2019 (arXiv:1906.10771); Xia et al. 2022,
CoFi (arXiv:2204.00408) for recovery by layer-wise distillation; Zhu and Gupta 2017 (arXiv:1710.01878) for the
schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from toolkit.classifier import Classifier, copy_net
from toolkit.compress.cut_cnn import cut_cnn
from toolkit.compress.cut_transformer import cut_transformer
from toolkit.compress.distill import check_data
from toolkit.compress.factorize import factorize
from toolkit.compress.imitate import Objective, imitate
from toolkit.compress.inherit import count_tokens
from toolkit.compress.latency_table import LatencyTable
from toolkit.compress.rounds import schedule_target, share_epochs
from toolkit.compress.shapes import check_sizes
from toolkit.compress.teachers import digest_of_teacher, measure_untrained, teacher_answers
from toolkit.compress.units import WEIGHTS, Target
from toolkit.data import Data, Split
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import Step, digest_of
from toolkit.nets import describe_net
from toolkit.nets.transformer import Transformer
from toolkit.progress import Progress, silent
from toolkit.spec import Array
from toolkit.train import Trained
from toolkit.train.fit import Fitted
from toolkit.train.randomness import reproducible
from toolkit.train.recipes import Recipe, default_recipe

# kind of net -> (net, encoder, rows, target, sizes before any cut, progress) -> a smaller net, those sizes again
CUTS: dict[str, Callable[..., tuple[nn.Module, Any]]] = {"transformer": cut_transformer, "cnn": cut_cnn}
ROWS = (
    256  # half of MiniLM's heads chosen by 256 rows and by 512: the same (the 256 are among them); by another 512: 94 %
)


@dataclass(frozen=True)
class _Cutting:
    """The net as it stands after some rounds, and the sizes that `keep` is a share of."""

    net: nn.Module
    whole: Any
    variance_kept: float | None = None  # of the token table, where it was factorized


def prune(
    classifier: Classifier,
    data: Data,
    *,
    keep: float,
    layers: int | None = None,
    width: int | None = None,
    rounds: int = 1,
    table: LatencyTable | None = None,
    by: str = WEIGHTS,
    embedding: int | None = None,
    recover: int = 2,
    recipe: Recipe | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """A smaller net: `keep` of what can be cut, `layers` of its layers, `width` of its hidden channels (None: all).

    `keep` is a share of weights; `by` "macs" of the multiply-accumulates of a cnn, which are its time more than its
    bytes; with a `table` of the time that cutting could save. `recover` epochs of imitation follow (0: none), by
    `recipe` (its epochs are replaced), spread over the `rounds`. A token table is factorized to `embedding` columns in
    the first round (None: left as it is). keep 1.0, all layers, the whole width and the whole table give the same net,
    which keeps its temperature. `folder` gets what a killed run goes on from. Raises `RecipeError` for a value out of
    its range, `InputError` for a kind of net that cannot be cut, `DataError` when `data` was split otherwise than
    when it was trained.
    """
    target = Target(keep, layers, width, table, by=by, embedding=embedding)
    kind = _check(classifier, data, target)
    if rounds < 1:
        raise RecipeError(f"rounds is {rounds}; allowed: 1 or more")
    if recover < 0:
        raise RecipeError(f"recover is {recover}; allowed: 0 or more epochs")
    if 0 < recover < rounds:
        raise RecipeError(f"recover is {recover} and rounds {rounds}; give an epoch a round or more, or 0")
    recipe = (recipe or default_recipe(kind)).resolve()
    cutting = _Cutting(copy_net(classifier.net), classifier.net.sizes)
    rows = _choose_rows(data.split("train"), recipe.seed)
    fitted: Fitted | None = None
    answers: Array | None = None
    warnings: list[str] = []
    seconds, epochs_run = 0.0, 0
    schedule = [schedule_target(target, classifier.net.sizes, at, rounds) for at in range(1, rounds + 1)]
    for number, (step, epochs) in enumerate(zip(schedule, share_epochs(recover, rounds), strict=True), 1):
        before = describe_net(cutting.net)["sizes"]
        with reproducible(recipe.seed, recipe.threads):
            cutting = _cut(classifier, data, cutting, rows, step, progress)
        if epochs and describe_net(cutting.net)["sizes"] != before:
            if answers is None:
                examples = data.split("train").examples
                answers = teacher_answers(
                    classifier, examples, folder=folder, threads=recipe.threads, progress=progress
                )
            place = folder if folder is None or rounds == 1 else folder / f"round-{number}"
            fitted = _recover(classifier, cutting.net, data, replace(recipe, epochs=epochs), answers, place, progress)
            warnings += fitted.warnings
            seconds, epochs_run = seconds + fitted.seconds, epochs_run + fitted.epochs_run
            cutting = replace(cutting, net=fitted.net)
    if fitted is None:
        fitted = measure_untrained(classifier, cutting.net, data.split("validation"), recipe.threads)
    fitted = replace(fitted, warnings=tuple(warnings), seconds=seconds, epochs_run=epochs_run)
    settings = {
        **_settings(classifier, target, cutting, len(rows)),
        "rounds": rounds,
        "recover": recover if fitted.epochs_run else 0,
        "recipe": replace(recipe, epochs=recover).to_json() if fitted.epochs_run else None,
        "warnings": warnings,
    }
    return Trained(_after(classifier, settings, fitted.net), fitted, fitted.warnings)


def cut(
    classifier: Classifier,
    data: Data,
    *,
    keep: float,
    layers: int | None = None,
    width: int | None = None,
    table: LatencyTable | None = None,
    by: str = WEIGHTS,
    embedding: int | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Progress = silent,
) -> Classifier:
    """As `prune` in one round, without recovery and without a look at the validation rows; raises as it does."""
    target = Target(keep, layers, width, table, by=by, embedding=embedding)
    _check(classifier, data, target)
    rows = _choose_rows(data.split("train"), seed)
    with reproducible(seed, threads):
        cutting = _cut(classifier, data, _Cutting(classifier.net, classifier.net.sizes), rows, target, progress)
    settings = {**_settings(classifier, target, cutting, len(rows)), "rounds": 1, "recover": 0, "recipe": None}
    return _after(classifier, {**settings, "warnings": []}, cutting.net)


def _cut(
    classifier: Classifier, data: Data, cutting: _Cutting, rows: Split, target: Target, progress: Progress
) -> _Cutting:
    """The net cut to `target`; then, at the width that is left, its token table factorized where it is not yet."""
    cut_net = CUTS[describe_net(cutting.net)["kind"]]
    # on a copy: hooks are hung on it and gradients run through it
    net, whole = cut_net(copy_net(cutting.net), classifier.encoder, rows, target, cutting.whole, progress)
    kept = cutting.variance_kept
    if target.embedding is not None and isinstance(net, Transformer) and net.sizes.embedding != target.embedding:
        counts = count_tokens(classifier.encoder, data.split("train").examples, net.sizes.vocabulary)
        net, kept = factorize(net, counts, target.embedding)
        progress("factorize", 1, 1, f"{kept:.0%} of the variance of the token table is in {target.embedding} columns")
    return _Cutting(net, whole, kept)


def _check(classifier: Classifier, data: Data, target: Target) -> str:
    kind: str = describe_net(classifier.net)["kind"]
    if kind not in CUTS:
        raise InputError(f"a net of kind {kind} cannot be pruned; allowed: {', '.join(CUTS)}; distill it instead")
    check_sizes(classifier.net.sizes, target)
    check_data(classifier, data)
    return kind


def _choose_rows(train: Split, seed: int) -> Split:
    chosen = np.random.default_rng(seed).permutation(len(train))[:ROWS]
    return train.take(np.sort(chosen))


def _settings(classifier: Classifier, target: Target, cutting: _Cutting, rows: int) -> dict[str, Any]:
    """What the step records of a cut."""
    table = target.table
    return {
        "original": digest_of_teacher(classifier),
        "keep": target.keep,
        "layers": target.layers,
        "width": target.width,
        "embedding": target.embedding,
        "variance_kept": None if cutting.variance_kept is None else round(cutting.variance_kept, 4),
        "by": target.by if table is None else "latency",
        "table": None if table is None else {
            "digest": digest_of(table.to_json()), "precision": table.precision, "length": table.length,
        },
        "rows": rows,
        "sizes": describe_net(cutting.net)["sizes"],
        "parameters_before": classifier.parameters,
        "parameters": sum(parameter.numel() for parameter in cutting.net.parameters()),
    }  # fmt: skip


def _after(classifier: Classifier, settings: dict[str, Any], small: nn.Module) -> Classifier:
    """`classifier` with the net that the step left; of the same sizes it answers the same, so its scores still hold."""
    made = classifier.after(Step("prune", settings), small)
    whole = settings["sizes"] == describe_net(classifier.net)["sizes"]
    return replace(made, temperature=classifier.temperature) if whole else made


def _recover(
    original: Classifier,
    small: nn.Module,
    data: Data,
    recipe: Recipe,
    answers: Array,
    folder: Path | None,
    progress: Progress,
) -> Fitted:
    """Train `small` to imitate the unpruned net; of a transformer also its hidden states."""
    return imitate(
        original,
        small,
        original.encoder,
        data.split("train"),
        data.split("validation"),
        recipe,
        answers=answers,
        objective=Objective(hidden=describe_net(small)["kind"] == "transformer"),
        folder=folder,
        progress=progress,
    )
