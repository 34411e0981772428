"""AdamW with decay only where it means something, and clipping by the norm of the whole gradient.

Weight decay pulls a weight towards zero. Biases and the gains of norms are left alone (shrinking a
scale or an offset does not simplify a function), and so are embedding tables: a row that no batch
asked for has no gradient, so decay would wear pretrained rows away with nothing to hold them.
Source: Loshchilov and Hutter 2019 (arXiv:1711.05101).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolkit.train.recipes import Recipe


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Two groups, decayed and not; fused, since one pass over memory is what AdamW costs on a CPU."""
    exempt = {
        id(parameter)
        for module in net.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1 and id(parameter) not in exempt]
    kept = [parameter for parameter in trained if parameter.ndim <= 1 or id(parameter) in exempt]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` in every group from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: list[nn.Parameter], largest: float) -> float:
    """Scale all gradients together so that their norm is at most `largest` (0: leave them).

    Returns the norm before clipping.
    """
    gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    if 0.0 < largest < float(norm):
        nn.utils.clip_grads_with_norm_(parameters, largest, norm, foreach=True)
    return float(norm)
