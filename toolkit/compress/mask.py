"""Zeros in place of the weights that are smallest, kept at zero while the net recovers: a mask, not a smaller net.

**A mask alone buys nothing on this runtime**: ONNX Runtime multiplies by zero as it does by anything, and the file
holds the zeros like all other numbers; size and time stay what they were. It pays on a GPU whose kernels skip
zeros: pattern "2:4" (two of four neighbours along the input) is what NVIDIA's sparse tensor cores take, through
TensorRT built with sparsity. To be faster here, cut by structure: `prune`.

Pattern "magnitude" keeps the largest `keep` of every tensor. Masked are the weights of products, convolutions and
lstm layers; biases, norms and embedding tables are not. A masked weight gets no gradient, so the optimizer never
moves it: its momentum is zero, and weight decay shrinks zero to zero.

Source: Han et al. 2015 (arXiv:1506.02626) for magnitudes; Mishra et al. 2021 (arXiv:2104.08378) for 2:4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.classifier import Classifier, copy_net
from toolkit.compress.distill import check_data
from toolkit.compress.imitate import Objective, imitate
from toolkit.compress.teachers import digest_of_teacher, measure_untrained, teacher_answers
from toolkit.data import Data
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import Step
from toolkit.nets import describe_net
from toolkit.progress import Progress, silent
from toolkit.train import Trained
from toolkit.train.recipes import Recipe, default_recipe

PATTERNS = ("magnitude", "2:4")
MASKED = (nn.Linear, nn.Conv2d, nn.LSTM)
WARNING = (
    "a mask alone buys nothing on ONNX Runtime: size and time stay as they were; "
    "it pays on GPUs that skip zeros (2:4 under TensorRT); to be faster here, prune by structure"
)


def mask(
    classifier: Classifier,
    data: Data,
    *,
    pattern: str = "magnitude",
    keep: float = 0.5,
    recover: int = 2,
    recipe: Recipe | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """A net of the same sizes with `keep` of the weights of every tensor, the others zero, by `pattern`.

    `recover` epochs of imitating the dense net follow (0: none), the zeros kept. With magnitude keep 1.0
    gives the same net. Raises `RecipeError` for a value out of its range (2:4 keeps 0.5), `InputError` for a net
    without a tensor to mask, `DataError` when `data` was split otherwise than when it was trained. The first of
    `warnings` says what a mask does not buy.
    """
    _check(pattern, keep, recover)
    check_data(classifier, data)
    kind = describe_net(classifier.net)["kind"]
    recipe = replace(recipe or default_recipe(kind), epochs=max(recover, 1)).resolve()
    net = copy_net(classifier.net)
    masks = choose_masks(net, pattern, keep)
    if not masks:
        raise InputError(f"this {kind} has no weight that the pattern {pattern} fits; nothing to mask")
    changed = not all(bool(kept.all()) for kept in masks.values())
    with torch.no_grad():
        for name, kept in masks.items():
            net.get_parameter(name).mul_(kept)
    train, validation = data.split("train"), data.split("validation")
    if changed and recover:
        answers = teacher_answers(classifier, train.examples, folder=folder, threads=recipe.threads, progress=progress)
        with _held_at_zero(net, masks):
            fitted = imitate(
                classifier,
                net,
                classifier.encoder,
                train,
                validation,
                recipe,
                answers=answers,
                objective=Objective(hidden=kind == "transformer"),
                folder=folder,
                progress=progress,
            )
    else:
        fitted = measure_untrained(classifier, net, validation, recipe.threads)
    warnings = (WARNING, *fitted.warnings)
    total = sum(kept.numel() for kept in masks.values())
    settings: dict[str, Any] = {
        "original": digest_of_teacher(classifier),
        "pattern": pattern,
        "keep": keep,
        "tensors": len(masks),
        "zero_share": 1.0 - sum(int(kept.sum()) for kept in masks.values()) / total,
        "recover": recover if changed else 0,
        "recipe": recipe.to_json() if changed and recover else None,
        "warnings": list(warnings),
    }
    return Trained(classifier.after(Step("mask", settings), fitted.net), fitted, warnings)


def choose_masks(net: nn.Module, pattern: str, keep: float) -> dict[str, Tensor]:
    """Name of a parameter -> bool tensor of its shape, true where the weight stays; `net` is only read.

    A tensor whose inputs do not come in fours is left out of 2:4.
    """
    found: dict[str, Tensor] = {}
    for place, module in net.named_modules():
        if not isinstance(module, MASKED):
            continue
        for name, weight in module.named_parameters(recurse=False):
            if weight.dim() < 2 or (pattern == "2:4" and weight.shape[1] % 4):
                continue
            sizes = weight.detach().abs()
            found[f"{place}.{name}"] = _two_of_four(sizes) if pattern == "2:4" else _largest(sizes, keep)
    return found


def _check(pattern: str, keep: float, recover: int) -> None:
    if pattern not in PATTERNS:
        raise RecipeError(f"pattern is {pattern!r}; allowed: {', '.join(PATTERNS)}")
    if not 0.0 < keep <= 1.0:
        raise RecipeError(f"keep is {keep}; allowed: above 0, to 1.0, the share of weights that stays")
    if pattern == "2:4" and keep != 0.5:
        raise RecipeError(f"keep is {keep}; the pattern 2:4 keeps 0.5, leave keep at that")
    if recover < 0:
        raise RecipeError(f"recover is {recover}; allowed: 0 or more epochs")


def _largest(sizes: Tensor, keep: float) -> Tensor:
    """True for the `keep` of all that are largest; of equal ones those that come first."""
    count = max(round(keep * sizes.numel()), 1)
    kept = torch.zeros(sizes.numel(), dtype=torch.bool)
    kept[torch.argsort(sizes.flatten(), descending=True, stable=True)[:count]] = True
    return kept.view(sizes.shape)


def _two_of_four(sizes: Tensor) -> Tensor:
    """True for the two largest of each four neighbours along the input, axis 1 of (out, in, ...)."""
    inputs_last = sizes.movedim(1, -1)
    fours = inputs_last.reshape(-1, 4)
    kept = torch.zeros_like(fours, dtype=torch.bool)
    kept.scatter_(1, torch.argsort(fours, dim=1, descending=True, stable=True)[:, :2], True)
    return kept.view(inputs_last.shape).movedim(-1, 1).contiguous()


@contextmanager
def _held_at_zero(net: nn.Module, masks: dict[str, Tensor]) -> Iterator[None]:
    """Inside, no gradient reaches what is masked."""
    hooks: list[Any] = []
    for name, kept in masks.items():
        hooks.append(net.get_parameter(name).register_hook(kept.mul))  # type: ignore[no-untyped-call]  # torch leaves it so
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
