"""Networks of our own: plain modules whose sizes are all explicit.

A pruned network is an ordinary network with smaller numbers, so it is rebuilt from a few JSON
integers and `model.safetensors`, never from a pickle. Every net here has

- `kind`, its key in `KINDS`;
- `sizes`, a frozen dataclass of integers, floats and tuples that rebuilds it;
- `forward(*arrays)`, the arrays in the order of the spec's inputs, returning logits
  float32 (batch, classes).
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from toolkit.errors import ArtifactError, RecipeError

# kind of net -> module, class, class of its sizes
KINDS = {
    "mlp": ("toolkit.nets.mlp", "Mlp", "MlpSizes"),
    "lstm": ("toolkit.nets.lstm", "Lstm", "LstmSizes"),
    "textcnn": ("toolkit.nets.textcnn", "Textcnn", "TextcnnSizes"),
    "transformer": ("toolkit.nets.transformer", "Transformer", "TransformerSizes"),
    "cnn": ("toolkit.nets.cnn", "Cnn", "CnnSizes"),
    "recommender": ("toolkit.nets.recommender", "Recommender", "RecommenderSizes"),
}


def build_net(kind: str, sizes: Mapping[str, Any]) -> nn.Module:
    """An untrained net of `kind`; raises `RecipeError` for a kind or a size that does not exist."""
    if kind not in KINDS:
        raise RecipeError(f"unknown net {kind!r}; allowed: {', '.join(KINDS)}")
    module_name, net_name, sizes_name = KINDS[kind]
    module = importlib.import_module(module_name)
    try:
        net: nn.Module = getattr(module, net_name)(getattr(module, sizes_name)(**_frozen(sizes)))
    except TypeError as error:
        raise RecipeError(f"sizes of {kind} cannot be used: {error}") from None
    return net


def describe_net(net: nn.Module) -> dict[str, Any]:
    """The JSON that `build_net` makes the same net from: {"kind": ..., "sizes": {...}}."""
    sizes = getattr(net, "sizes", None)
    if not dataclasses.is_dataclass(sizes) or isinstance(sizes, type):
        raise ArtifactError(f"{type(net).__name__} is no net of ours: it has no sizes to save")
    return {"kind": net.kind, "sizes": dataclasses.asdict(sizes)}


def _frozen(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Lists, as JSON gives them, back to tuples, at any depth."""

    def freeze(value: Any) -> Any:
        return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value

    return {name: freeze(value) for name, value in sizes.items()}
