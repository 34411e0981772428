"""What training makes small: cross-entropy with class weights and label smoothing, and what may replace it.

A mean over a batch is a sum divided by the weight of its rows. Spread over processes, each must divide
by the weight of the *whole* batch or the uneven last one counts wrong; `mass` is that weight.
Sources: Szegedy et al. 2016 (arXiv:1512.00567) for smoothing; King and Zeng 2001 for balanced weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.spec import Array
from toolkit.train.recipes import Recipe

# net, inputs in spec order, labels int64 (batch,), row numbers int64 (batch,) in the train split -> scalar loss
Loss = Callable[[nn.Module, tuple[Tensor, ...], Tensor, Tensor], Tensor]


class CrossEntropy:
    """The default loss; also what evaluation reports (without smoothing).

    `weights` float32 (classes,) or None; a `Loss` of its own may call `of_logits` for its hard part.
    """

    def __init__(self, weights: Array | None = None, smoothing: float = 0.0) -> None:
        self.weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))
        self.smoothing = smoothing

    def __call__(self, net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor) -> Tensor:
        return self.of_logits(net(*inputs), labels)

    def of_logits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted mean over the batch; logits (batch, classes) of any float type, labels int64 (batch,)."""
        return functional.cross_entropy(
            logits.float(), labels, weight=self.weights, label_smoothing=self.smoothing, reduction="mean"
        )

    def mass(self, labels: Tensor) -> float:
        """Weight of these rows in a sum: what a mean over them was divided by."""
        return float(len(labels)) if self.weights is None else float(self.weights[labels].sum())


def make_cross_entropy(recipe: Recipe, labels: Array, classes: int) -> CrossEntropy:
    """The loss that `recipe` asks for on training `labels` int64 (rows,)."""
    weights = balance_classes(labels, classes) if recipe.class_weights else None
    return CrossEntropy(weights, recipe.label_smoothing)


def balance_classes(labels: Array, classes: int) -> Array:
    """float32 (classes,): rows / (classes x rows of the class), so that classes weigh the same; 1 without rows."""
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 1.0).astype(np.float32)
