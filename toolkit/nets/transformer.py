"""A BERT-family encoder and a classification head, every layer with sizes of its own.

A layer may have fewer heads or neurons than its neighbours, since that is what pruning leaves.
The token type embedding of segment 0 is added into the position table when a checkpoint is read: one
sentence has one segment, so the sum is the same and the graph is one operation shorter.

Attention is written twice with one meaning. Eager PyTorch runs its fused kernel, so that the
baseline that exports are compared with is not a straw man; the exporter sees plain matrix products, which
ONNX Runtime fuses and INT8 can quantize. Queries, keys and values are one product: at batch 1 that was
the fastest of four ways tried. Padding is masked by a finite -10000, never by infinity, so fp16 and
INT8 make no NaN of it, and pooled away by a masked mean: a row alone answers as in a padded batch.

A table of tokens is as wide as the net, or narrower (`embedding`) with one product that lifts the rows that were
looked up to the net's width: many tokens cost little then, and a run one small product.

Source: Devlin et al. 2018 (arXiv:1810.04805), post-norm; Reimers and Gurevych 2019 for mean pooling; Lan et al. 2019,
ALBERT (arXiv:1909.11942), for the factorized table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.errors import RecipeError
from toolkit.nets.checkpoints import read_checkpoint
from toolkit.nets.pooling import MASKED, masked_mean

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}
POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class TransformerSizes:
    """`heads` and `feed_forward` have one entry a layer; `head_width` is the same everywhere.

    `positions` is the longest input. `pooling` is "mean" (over what is not padding) or "cls" (first token).
    `embedding` is the width of a token's vector in the table; None: the width of the net.
    """

    vocabulary: int
    width: int
    heads: tuple[int, ...]
    head_width: int
    feed_forward: tuple[int, ...]
    positions: int
    labels: int
    dropout: float = 0.1
    activation: str = "gelu"
    norm_eps: float = 1e-12
    pooling: str = "mean"
    embedding: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.vocabulary, self.width, self.head_width, self.positions, *self.heads, *self.feed_forward)
        if not self.heads or len(self.heads) != len(self.feed_forward) or min(numbers) < 1:
            raise RecipeError(
                f"a transformer needs heads and feed_forward of one length, all sizes 1 or more; "
                f"got heads {self.heads}, feed_forward {self.feed_forward}"
            )
        if self.activation not in ACTIVATIONS or self.pooling not in POOLINGS:
            raise RecipeError(
                f"activation {self.activation!r} or pooling {self.pooling!r} is unknown; allowed: "
                f"{', '.join(ACTIVATIONS)}; {', '.join(POOLINGS)}"
            )
        if self.embedding is not None and not 1 <= self.embedding < self.width:
            raise RecipeError(
                f"embedding is {self.embedding}; allowed: 1 to {self.width - 1}, less than the net's width, or None"
            )


class Attention(nn.Module):
    """Self-attention. The rows of `qkv` are all heads' queries, then their keys, then their values."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout = heads, head_width, dropout
        self.qkv = nn.Linear(width, 3 * heads * head_width)
        self.output = nn.Linear(heads * head_width, width)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """hidden (batch, length, width); bias (batch, 1, 1, length), added to the scores."""
        batch, length = hidden.shape[0], hidden.shape[1]
        parts = self.qkv(hidden).split(self.heads * self.head_width, dim=-1)
        query, key, value = (p.view(batch, length, self.heads, self.head_width).transpose(1, 2) for p in parts)
        if torch.onnx.is_in_onnx_export():
            scores = query @ key.transpose(-1, -2) / self.head_width**0.5 + bias
            mixed = scores.softmax(dim=-1) @ value
        else:
            dropout = self.dropout if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropout)
        together = mixed.transpose(1, 2).reshape(batch, length, self.heads * self.head_width)
        projected: Tensor = self.output(together)
        return projected


class Layer(nn.Module):
    """Attention and feed-forward, each added to what came in and then normalized."""

    def __init__(self, sizes: TransformerSizes, index: int) -> None:
        super().__init__()
        self.attention = Attention(sizes.width, sizes.heads[index], sizes.head_width, sizes.dropout)
        self.attention_norm = nn.LayerNorm(sizes.width, eps=sizes.norm_eps)
        self.expand = nn.Linear(sizes.width, sizes.feed_forward[index])
        self.contract = nn.Linear(sizes.feed_forward[index], sizes.width)
        self.feed_forward_norm = nn.LayerNorm(sizes.width, eps=sizes.norm_eps)
        self.dropout = nn.Dropout(sizes.dropout)
        self.activation = ACTIVATIONS[sizes.activation]

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, bias)))
        inner = self.contract(self.activation(self.expand(hidden)))
        normed: Tensor = self.feed_forward_norm(hidden + self.dropout(inner))
        return normed


class Transformer(nn.Module):
    """input_ids and attention_mask, int64 (batch, length), to logits float32 (batch, labels)."""

    kind = "transformer"

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.embedding or sizes.width)
        self.lift = None if sizes.embedding is None else nn.Linear(sizes.embedding, sizes.width, bias=False)
        self.positions = nn.Embedding(sizes.positions, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.norm_eps)
        self.layers = nn.ModuleList([Layer(sizes, index) for index in range(len(sizes.heads))])
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(sizes.width, sizes.labels)
        self.apply(_initialize)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.hidden(input_ids, attention_mask)[0]

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the embedding output then each layer's output, all (batch, length, width)."""
        bias = (1.0 - attention_mask.unsqueeze(1).unsqueeze(2).to(torch.float32)) * MASKED
        vectors = self.tokens(input_ids)
        if self.lift is not None:
            vectors = self.lift(vectors)
        embedded = vectors + self.positions.weight[: input_ids.shape[1]]
        states = [self.dropout(self.norm(embedded))]
        for layer in self.layers:
            states.append(layer(states[-1], bias))
        pooled = self.dropout(self._pool(states[-1], attention_mask))
        return self.classifier(pooled), states

    def token_vectors(self) -> Tensor:
        """float32 (vocabulary, width): what each token adds to the stream, lifted where the table is narrower."""
        return self.tokens.weight if self.lift is None else self.tokens.weight @ self.lift.weight.T

    def _pool(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        if self.sizes.pooling == "cls":
            return hidden[:, 0]
        return masked_mean(hidden, attention_mask)


def load_checkpoint(folder: Path, *, labels: int, dropout: float) -> Transformer:
    """The encoder of a BERT-family folder under a fresh head; see `checkpoints` for what is taken.

    Raises `ArtifactError` for a folder of another family or with weights missing.
    """
    checkpoint = read_checkpoint(folder)
    net = Transformer(TransformerSizes(**checkpoint.sizes, labels=labels, dropout=dropout))
    head = {f"classifier.{name}": tensor for name, tensor in net.classifier.state_dict().items()}
    net.load_state_dict({**checkpoint.tensors, **head})
    return net


def _initialize(module: nn.Module) -> None:
    """Normal of deviation 0.02, as BERT was; zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
