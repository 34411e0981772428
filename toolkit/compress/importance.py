"""How much a channel matters: what the loss would change if it were gone, to first order, on real rows.

Behind each gate stands the input of a layer: neurons before the second feed-forward product, mixed heads
before the output product, channels before the second convolution of a block. The product of that input
and its gradient, summed over positions, is the change of the loss when the channel is switched off; its
size is averaged over rows, taken one by one, so that rows which pull in opposite directions both count.

A trained net is sure of its training rows, and a loss near zero has a gradient from its few mistakes only. So
the logits are softened first: with `SOFTENING` 4, half of MiniLM's heads and neurons could go from TREC and
93.1 % of the validation rows stayed right without any recovery (94.2 % before; 90.7 % unsoftened).
Limit: first order, one channel at a time; two channels that stand in for one another both look idle.

Source: Molchanov et al. 2019 (arXiv:1906.10771); Michel et al. 2019 (arXiv:1905.10650) for heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.progress import Progress, silent

BATCH = 32
SOFTENING = 4.0


def measure_importance(
    net: nn.Module,
    encoder: Encoder,
    split: Split,
    gates: Sequence[nn.Module],
    *,
    progress: Progress = silent,
) -> list[Tensor]:
    """Mean size of the first-order change of the loss, float64 (channels,), for the input of each of `gates`.

    `net` is run in evaluation mode, its parameters get no gradients.
    """
    net.eval()
    totals = [torch.zeros(0) for _ in gates]
    seen: list[Tensor | None] = [None] * len(gates)
    hooks = [module.register_forward_pre_hook(_keep(seen, index)) for index, module in enumerate(gates)]
    order = sorted(range(len(split)), key=lambda row: encoder.size(split.examples[row]))
    try:
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            arrays = encoder.encode([split.examples[row] for row in rows])
            logits = net(*(torch.from_numpy(np.ascontiguousarray(arrays[i.name])) for i in encoder.inputs))
            loss = functional.cross_entropy(logits / SOFTENING, torch.from_numpy(split.labels[rows]), reduction="sum")
            values = [value for value in seen if value is not None]
            for index, (value, slope) in enumerate(zip(values, torch.autograd.grad(loss, values), strict=True)):
                change = _by_channel(value.detach() * slope, gates[index]).abs().double().sum(dim=0)
                totals[index] = totals[index] + change if len(totals[index]) else change
            progress("importance", start + len(rows), len(order), "first-order importance on training rows")
    finally:
        for hook in hooks:
            hook.remove()
    return [total / len(order) for total in totals]


def _keep(seen: list[Tensor | None], index: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[index] = inputs[0]

    return hook


def _by_channel(change: Tensor, module: nn.Module) -> Tensor:
    """(batch, channels): summed over height and width of pictures, or over the positions of a text."""
    if isinstance(module, nn.Conv2d):
        return change.sum(dim=(2, 3))
    return change.flatten(1, -2).sum(dim=1)
