"""A transformer narrowed: fewer layers, heads and neurons, and a residual stream projected to fewer columns.

The stream is projected to a basis of few columns, in which most of the variance of the teacher's states on training
rows lies. Matrices that read the stream take the basis on that side, matrices that write it on the other. A layer norm
does not commute with a projection, so scale and shift of each are fitted anew, column by column, by least
squares on those states: MiniLM at 256 of its 384 columns agreed with itself on 96 % of TREC's validation rows, with
the columns of largest variance instead on 77 %. Heads and neurons stay whole; the ones with the largest weights stay.

Limit: it is a place to start from and not a compressed net; without training after it, accuracy is poor.
Heads keep their width, and a layer has no more heads or neurons than the one it is made from.

Source: Ashkboos et al. 2024, SliceGPT (arXiv:2401.15024), for slicing the residual stream along its principal
components; post-norm nets, which it leaves out, need the fitted norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nets.transformer import Attention, Layer, Transformer, TransformerSizes

Pair = tuple[Tensor, Tensor]
Pairs = Mapping[nn.LayerNorm, Pair]


def why_not_narrowed(own: TransformerSizes, theirs: TransformerSizes, layers: Sequence[int]) -> str:
    """What keeps a transformer of sizes `own` from being narrowed out of these layers of one of `theirs`; or ''."""
    if len(layers) != len(own.heads):
        return f"{len(own.heads)} layers are more than {len(theirs.heads)}"
    if own.activation != theirs.activation or own.head_width != theirs.head_width or own.pooling != theirs.pooling:
        return "activation, pooling or width of a head is another than the teacher's"
    if own.embedding is not None and own.embedding != theirs.embedding:
        return f"a token table of {own.embedding} columns is another than the teacher's"
    if own.width > theirs.width or own.positions > theirs.positions:
        return f"width {own.width} or positions {own.positions} are more than {theirs.width} and {theirs.positions}"
    if any(
        heads > theirs.heads[layer] or neurons > theirs.feed_forward[layer]
        for heads, neurons, layer in zip(own.heads, own.feed_forward, layers, strict=True)
    ):
        return f"heads {own.heads} or feed-forward {own.feed_forward} are more than the teacher's layers have"
    return ""


def narrow_transformer(
    student: Transformer, teacher: Transformer, layers: Sequence[int], inputs: tuple[Tensor, ...]
) -> dict[str, Any]:
    """Overwrite the weights of `student` by those of `teacher`'s `layers`, narrowed; returns what was done.

    `inputs` are encoded training rows (ids, mask), on which the states are looked at. The sizes must
    fit (`why_not_narrowed`); the head is taken where labels agree in number.
    """
    own, theirs = student.sizes, teacher.sizes
    with watch_norms(teacher) as seen, torch.no_grad():
        teacher.eval()(*inputs)
    kept = inputs[1] > 0
    used = [teacher.norm, *(norm for layer in layers for norm in _norms(teacher.layers[layer]))]
    pairs = {norm: (seen[norm][0][kept], seen[norm][1][kept]) for norm in used}
    states = torch.cat([after for _, after in pairs.values()])
    basis, share = principal_components(states, torch.ones(len(states)), own.width)
    state = dict(student.state_dict())
    with torch.no_grad():
        if student.lift is None or teacher.lift is None:
            state["tokens.weight"] = teacher.token_vectors() @ basis
        else:
            state["tokens.weight"], state["lift.weight"] = teacher.tokens.weight, basis.T @ teacher.lift.weight
        state["positions.weight"] = teacher.positions.weight[: own.positions] @ basis
        _put_norm(state, "norm", teacher.norm, pairs, basis)
        for index, layer in enumerate(layers):
            whole = cast(Layer, teacher.layers[layer])
            _put_layer(state, f"layers.{index}", whole, own.heads[index], own.feed_forward[index], pairs, basis)
        if own.labels == theirs.labels:
            state["classifier.weight"] = teacher.classifier.weight @ basis
            state["classifier.bias"] = teacher.classifier.bias
    student.load_state_dict(state)  # copies
    return {
        "layers": list(layers),
        "stream": "copied" if own.width == theirs.width else f"{own.width} principal components of {theirs.width}",
        "variance_kept": round(share, 4),
        "heads_and_neurons": "largest weights",
        "head": own.labels == theirs.labels,
    }


def principal_components(vectors: Tensor, weights: Tensor, width: int) -> tuple[Tensor, float]:
    """A basis float32 (vectors' width, width) with orthonormal columns, and the share of their variance in it.

    `vectors` (rows, their width) count by `weights` (rows,). At full width the basis is the identity: nothing turns.
    """
    full = vectors.shape[1]
    if width == full:
        return torch.eye(full), 1.0
    rows, share = vectors.double(), (weights / weights.sum()).double().unsqueeze(1)
    centred = rows - (rows * share).sum(dim=0)
    values, columns = torch.linalg.eigh((centred * share).T @ centred)
    columns = columns.flip(1)[:, :width]
    largest = columns.gather(0, columns.abs().argmax(dim=0, keepdim=True))
    basis = columns * largest.sign()  # a component has no sign of its own: one, so that it is the same every time
    kept = float(values[-width:].sum() / values.sum().clamp_min(1e-30))
    return basis.float(), kept


@contextmanager
def watch_norms(net: Transformer) -> Iterator[Pairs]:
    """Inside the block, what each layer norm of `net` got and gave in the newest forward pass."""
    seen: dict[nn.LayerNorm, Pair] = {}

    def keep(module: nn.LayerNorm, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = (inputs[0], output)

    handles = [norm.register_forward_hook(keep) for norm in net.modules() if isinstance(norm, nn.LayerNorm)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _put_layer(
    state: dict[str, Tensor],
    name: str,
    whole: Layer,
    heads: int,
    neurons: int,
    pairs: Pairs,
    basis: Tensor,
) -> None:
    attention = whole.attention
    mixed = _largest_heads(attention, heads)
    every = attention.heads * attention.head_width
    thrice = torch.cat([mixed, mixed + every, mixed + 2 * every])  # queries, keys, values
    inner = _largest(whole.expand.weight.norm(dim=1) * whole.contract.weight.norm(dim=0), neurons)
    for part, linear, rows, columns in (
        ("attention.qkv", attention.qkv, thrice, None),
        ("attention.output", attention.output, None, mixed),
        ("expand", whole.expand, inner, None),
        ("contract", whole.contract, None, inner),
    ):
        if rows is not None:  # reads the stream
            state[f"{name}.{part}.weight"] = linear.weight[rows] @ basis
            state[f"{name}.{part}.bias"] = linear.bias[rows]
        else:  # writes it
            state[f"{name}.{part}.weight"] = basis.T @ linear.weight[:, columns]
            state[f"{name}.{part}.bias"] = linear.bias @ basis
    _put_norm(state, f"{name}.attention_norm", whole.attention_norm, pairs, basis)
    _put_norm(state, f"{name}.feed_forward_norm", whole.feed_forward_norm, pairs, basis)


def _put_norm(state: dict[str, Tensor], name: str, norm: nn.LayerNorm, pairs: Pairs, basis: Tensor) -> None:
    """Scale and shift that bring the norm of what is projected nearest to the projection of what is normed."""
    if basis.shape[0] == basis.shape[1]:
        state[f"{name}.weight"], state[f"{name}.bias"] = norm.weight, norm.bias
        return
    before, after = (tensor @ basis for tensor in pairs[norm])
    normed = functional.layer_norm(before, before.shape[-1:], eps=norm.eps)
    middle, target = normed.mean(dim=0), after.mean(dim=0)
    spread = ((normed - middle) ** 2).mean(dim=0).clamp_min(1e-12)
    scale = ((normed - middle) * (after - target)).mean(dim=0) / spread
    state[f"{name}.weight"], state[f"{name}.bias"] = scale, target - scale * middle


def _largest_heads(attention: Attention, count: int) -> Tensor:
    """The columns of the `count` heads whose values and output together weigh most, in their order."""
    values = attention.qkv.weight.chunk(3)[2].view(attention.heads, attention.head_width, -1)
    output = attention.output.weight.T.reshape(attention.heads, attention.head_width, -1)
    # the norm of the product that carries a token through the head
    weights = torch.einsum("hij,hik->hjk", values, output).flatten(1).norm(dim=1)
    kept = _largest(weights, count)
    return (kept[:, None] * attention.head_width + torch.arange(attention.head_width)).flatten()


def _largest(weights: Tensor, count: int) -> Tensor:
    return torch.argsort(weights, descending=True, stable=True)[:count].sort().values


def _norms(layer: nn.Module) -> tuple[nn.LayerNorm, nn.LayerNorm]:
    whole = cast(Layer, layer)
    return whole.attention_norm, whole.feed_forward_norm
