"""Cut channels out of a network of your own: convolutions, norms, shortcuts and concatenations, as traced.

The library torch-pruning follows which channels hang together through residual sums and concatenations; what goes
is what the loss would miss least, to first order, on your rows (group Taylor importance), over all layers at once,
in multiples of 8. The inputs and the last layer's outputs stay. What comes back is a plain module of
ordinary layers with smaller sizes: train it on, and export it like any other.

Ours are cut by name instead (`prune`), where heads and widths have a meaning that no trace knows.
Limits: the forward pass must be traceable on `example`, and reshapes with fixed channel counts inside it break;
the module is changed by its layers, so it is saved by its weights only together with code that builds those sizes.
No recovery: train it as it was trained.

Source: Fang et al. 2023, DepGraph (arXiv:2301.12900); Molchanov et al. 2019 (arXiv:1906.10771).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from toolkit.errors import InputError, RecipeError, require

BLOCK = 8
# what the net gives for a batch, labels int64 (batch,) -> scalar loss
GraphLoss = Callable[[Tensor, Tensor], Tensor]


def prune_graph(
    net: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    batches: Iterable[tuple[Tensor | tuple[Tensor, ...], Tensor]],
    *,
    keep: float,
    loss: GraphLoss = functional.cross_entropy,
    ignore: Sequence[str] = (),
) -> nn.Module:
    """A copy of `net` with at most about `keep` of its channels (each layer rounds down), `net` itself untouched.

    `example` is one input (or a tuple of them) to trace the net on; `batches` are real rows as (inputs, labels),
    run in evaluation mode for the importance; `ignore` names modules that keep their outputs. The last product of
    every output is found and kept. keep 1.0 is a copy. Raises `RecipeError` for a value out of its range,
    `InputError` for a net without parameters to prune or that cannot be traced, `MissingExtra` without torch-pruning.
    """
    if not 0.0 < keep <= 1.0:
        raise RecipeError(f"keep is {keep}; allowed: above 0, to 1.0, the share of channels that stays")
    pruning = require("torch_pruning", extra="prune")
    inputs = example if isinstance(example, tuple) else (example,)
    small = copy.deepcopy(net).eval()
    modules = dict(small.named_modules())
    if unknown := sorted(set(ignore) - set(modules)):
        raise RecipeError(f"ignore names {unknown[0]!r}, which the net does not have; it has {', '.join(modules)}")
    if keep == 1.0:
        return small
    frozen = {name for name, parameter in small.named_parameters() if not parameter.requires_grad}
    small.requires_grad_(True)
    ignored = [modules[name] for name in ignore] + _last_layers(small, inputs)
    _gather_gradients(small, batches, loss)
    try:
        pruner = pruning.pruner.BasePruner(
            small,
            inputs,
            importance=pruning.importance.GroupTaylorImportance(),
            global_pruning=True,
            pruning_ratio=1.0 - keep,
            ignored_layers=ignored,
            round_to=BLOCK,
        )
        pruner.step()
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{type(net).__name__} cannot be traced and cut: {reason}; name what must stay in ignore"
        ) from None
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(name not in frozen)
    small.zero_grad(set_to_none=True)
    return small


def _gather_gradients(
    net: nn.Module, batches: Iterable[tuple[Tensor | tuple[Tensor, ...], Tensor]], loss: GraphLoss
) -> None:
    """Leave the gradients of the loss, summed over all batches, in the net's parameters."""
    seen = 0
    for given, labels in batches:
        inputs = given if isinstance(given, tuple) else (given,)
        loss(net(*inputs), labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        seen += len(labels)
    if not seen:
        raise InputError("there is no row to measure importance on; give batches of (inputs, labels)")


def _last_layers(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[nn.Module]:
    """The layers whose outputs are the net's own: those that no other layer's gradient stands behind."""
    layers = [module for module in net.modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)]
    if not layers:
        raise InputError(f"{type(net).__name__} has no convolution and no product; nothing to prune")
    outputs: dict[Any, nn.Module] = {}  # by the function that made it, which lives as long as it is held here

    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[output.grad_fn] = module

    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        result = net(*inputs)
    finally:
        for handle in hooks:
            handle.remove()
    return _first_met(result if isinstance(result, tuple | list) else (result,), outputs)


def _first_met(results: Sequence[Tensor], outputs: dict[Any, nn.Module]) -> list[nn.Module]:
    """Walk back from the results through the graph of gradients, and stop at the first layer on every path."""
    found: list[nn.Module] = []
    seen: set[Any] = set()
    waiting = [result.grad_fn for result in results]
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if function in outputs:
            found.append(outputs[function])
        else:
            waiting += [before for before, _ in function.next_functions]
    return found
