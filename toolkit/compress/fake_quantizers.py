"""Put fake quantizers into a net, with ranges measured on training rows; what `quantize_aware` trains with.

A fake quantizer rounds a float to what 8 bits can hold and leaves it a float; its gradient passes straight through.
They go where the kernels of INT8 read: at the weights and inputs of a transformer's dense layers, and at every tensor
between a cnn's convolutions (`folded_cnn`). Norms, softmax, embeddings and the last product stay float, as in `int8`.
A range is the largest absolute value seen, symmetric about 0; behind a relu a cpu gets its positive half alone,
which is twice as fine. TensorRT takes signed values only.

Source: nvidia-modelopt, modelopt.torch.quantization; Bengio et al. 2013 (arXiv:1308.3432) for the gradient.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.classifier import Classifier, copy_net
from toolkit.compress.folded_cnn import FoldedCnn, Rounded
from toolkit.compress.quantize import needs_reduced_range
from toolkit.compress.tables import SMALLEST, round_rows
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.errors import require
from toolkit.nets import describe_net
from toolkit.nets.cnn import Cnn
from toolkit.nets.transformer import Transformer
from toolkit.train.batches import encode_rows

MODELOPT = "modelopt.torch.quantization"
TOGETHER = 16
WEIGHTS = "*weight_quantizer"
FLOAT = ("*norm*", "classifier.*", "tokens.*", "positions.*")


def insert_quantizers(classifier: Classifier, chosen: Split, *, target: str) -> nn.Module:
    """A copy of the net with fake quantizers, whose ranges are those of the rows `chosen`.

    Raises `MissingExtra` where nvidia-modelopt is not installed.
    """
    quantization = _modelopt()
    prepare, places = NETS[describe_net(classifier.net)["kind"]]
    net = prepare(copy_net(classifier.net).eval(), quantization, target)
    rules: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    for pattern, signed in places.items():
        unsigned = not signed and target == "cpu"
        rules.append({"quantizer_name": pattern, "cfg": {"num_bits": 8, "axis": None, "unsigned": unsigned}})
    rules.append({"quantizer_name": WEIGHTS, "cfg": {"num_bits": weight_bits(target), "axis": 0}})
    rules += [{"quantizer_name": pattern, "enable": False} for pattern in FLOAT]

    def run_rows(calibrated: nn.Module) -> None:
        for inputs in _alike(classifier.encoder, chosen):
            calibrated(*inputs)

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it prints, and warns of plugins that we do not use
        inserted: nn.Module = quantization.quantize(net, {"quant_cfg": rules, "algorithm": "max"}, run_rows)
    return inserted


def _prepare_transformer(net: nn.Module, quantization: Any, target: str) -> nn.Module:
    """The token table rests, for cpu at what its 8 bits can hold: training goes on around it."""
    assert isinstance(net, Transformer)
    table = net.tokens.weight.requires_grad_(False)
    if target == "cpu" and table.numel() >= SMALLEST:
        rows, scales = round_rows(table.numpy())
        table.copy_(torch.from_numpy(rows * scales))
    return net


def _prepare_cnn(net: nn.Module, quantization: Any, target: str) -> nn.Module:
    assert isinstance(net, Cnn)
    registry = quantization.nn.QuantModuleRegistry
    if registry.get(Rounded) is None:
        registry.register({Rounded: "Rounded"})(quantization.nn.QuantInputBase)
    return FoldedCnn(net)


# kind of net -> how it is made ready, and which tensors are rounded (True: signed) besides weights
Prepare = Callable[[nn.Module, Any, str], nn.Module]
NETS: dict[str, tuple[Prepare, dict[str, bool]]] = {
    "transformer": (_prepare_transformer, {"*input_quantizer": True}),
    "cnn": (_prepare_cnn, {"*_signed.input_quantizer": True, "*_unsigned.input_quantizer": False}),
}


def widen_weights(net: nn.Module) -> None:
    """Weights of 7 bits become the same weights in 8, of which they use the inner half: a file has no other type."""
    for quantizer in _quantizers(net):
        if quantizer.num_bits == 7:
            quantizer.num_bits, quantizer.amax = 8, quantizer.amax * (127 / 63)


@contextlib.contextmanager
def rounding_off(net: nn.Module) -> Iterator[None]:
    """Inside the block the quantizers of `net` change nothing."""
    quantizers = _quantizers(net)
    for quantizer in quantizers:
        quantizer.disable()
    try:
        yield
    finally:
        for quantizer in quantizers:
            quantizer.enable()


def weight_bits(target: str) -> int:
    """7 where this processor's sums of 8-bit products would saturate, else 8."""
    return 7 if target == "cpu" and needs_reduced_range() else 8


def _alike(encoder: Encoder, chosen: Split) -> Iterator[tuple[Tensor, ...]]:
    """Rows of one length together, so that no padding widens a range."""
    rows = encode_rows(encoder, chosen)
    for length in np.unique(rows.lengths):
        same = np.flatnonzero(rows.lengths == length)
        for start in range(0, len(same), TOGETHER):
            yield rows.batch(same[start : start + TOGETHER])


def _quantizers(net: nn.Module) -> list[Any]:
    kind = _modelopt().nn.TensorQuantizer
    return [module for module in net.modules() if isinstance(module, kind) and module.is_enabled]


def _modelopt() -> Any:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return require(MODELOPT, extra="quantize-aware")
