"""One part of a transformer layer as an ONNX graph of its own, and how long such graphs take, all in turn."""

from __future__ import annotations

import io
import statistics
import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.compress.int8 import quantize_graph
from toolkit.compress.quantize import needs_reduced_range
from toolkit.compress.scheme import Scheme
from toolkit.export.door import OPSET
from toolkit.nets.transformer import Layer, TransformerSizes
from toolkit.runners.onnx import OnnxRunner

BLOCK = 32
ROUNDS, SECONDS = 7, 0.01  # of each size: rounds, and time in one of them


class _Part(nn.Module):
    """One part of one layer, stacked; takes and gives hidden states (1, length, width)."""

    def __init__(self, sizes: TransformerSizes, part: str, copies: int) -> None:
        super().__init__()
        self.part = part
        self.layers = nn.ModuleList([Layer(sizes, 0) for _ in range(copies)])

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        for layer in self.layers:
            if self.part == "attention":
                hidden = layer.attention_norm(hidden + layer.attention(hidden, bias))  # type: ignore[operator]
            else:
                inner = layer.activation(layer.expand(hidden))  # type: ignore[operator]
                hidden = layer.feed_forward_norm(hidden + layer.contract(inner))  # type: ignore[operator]
        return hidden


def build_part(sizes: TransformerSizes, part: str, size: int, *, copies: int, length: int, precision: str) -> bytes:
    """The ONNX bytes of a stack of one part with `size` heads or neurons, weights at random."""
    heads, neurons = (size, BLOCK) if part == "attention" else (1, size)
    one = TransformerSizes(
        vocabulary=1, width=sizes.width, heads=(heads,), head_width=sizes.head_width, feed_forward=(neurons,),
        positions=sizes.positions, labels=2, activation=sizes.activation, norm_eps=sizes.norm_eps,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's age
        torch.manual_seed(0)
        buffer = io.BytesIO()
        example = (torch.randn(1, length, sizes.width), torch.zeros(1, 1, 1, length))
        torch.onnx.export(
            _Part(one, part, copies).eval(),
            example,
            buffer,  # type: ignore[arg-type]  # this exporter writes to any file; the stub speaks of the other
            input_names=["hidden", "bias"],
            output_names=["out"],
            # as in a whole net: at fixed shapes products and biases would be fused, and their INT8 form is another
            dynamic_axes={"hidden": {0: "batch", 1: "length"}, "bias": {0: "batch", 3: "length"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = buffer.getvalue()
    if precision == "fp32":
        return model
    return quantize_graph(model, Scheme(mode="dynamic"), reduce_range=needs_reduced_range()).model


def time_parts(models: Sequence[bytes], width: int, length: int) -> list[float]:
    """The median time of each model in microseconds, in its quietest round: noise only ever adds."""
    rng = np.random.default_rng(0)
    arrays = {
        "hidden": rng.standard_normal((1, length, width), dtype=np.float32),
        "bias": np.zeros((1, 1, 1, length), dtype=np.float32),
    }
    runners = [OnnxRunner(model, threads=1) for model in models]
    medians: list[list[float]] = [[] for _ in runners]
    clock = time.perf_counter_ns
    for _ in range(ROUNDS):
        for runner, found in zip(runners, medians, strict=True):
            runner.run(arrays)  # the caches were another's
            samples = []
            end = clock() + int(SECONDS * 1e9)
            while True:
                start = clock()
                runner.run(arrays)
                stop = clock()
                samples.append(stop - start)
                if stop >= end:
                    break
            found.append(statistics.median(samples))
    for runner in runners:
        runner.close()
    return [min(found) / 1e3 for found in medians]
