"""The dropout of a whole net, set by the recipe that trains it: a pruned net recovers with another one.

Our nets drop in two ways: an `nn.Dropout`, or a module with a float attribute `dropout` (attention's
fused kernel, torch's own LSTM). Both follow, and so do the net's `sizes`, so what is saved is what was used.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from torch import nn


def set_dropout(net: nn.Module, share: float) -> None:
    """Drop `share` of the activations wherever `net` drops any; in place."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(module, nn.RNNBase) and module.num_layers == 1:
            continue  # torch drops between layers only
        elif isinstance(getattr(module, "dropout", None), float):
            cast(Any, module).dropout = share
    sizes = getattr(net, "sizes", None)
    if dataclasses.is_dataclass(sizes) and not isinstance(sizes, type) and hasattr(sizes, "dropout"):
        cast(Any, net).sizes = dataclasses.replace(sizes, dropout=share)
