"""What an ONNX graph says about its own speed: weights of its kernels, and where int8 and float take turns.

Read from a parsed model; nothing runs here. `onnx` is imported inside, for serving has none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import require
from toolkit.spec import Array

FLOAT_KERNELS = frozenset(
    {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "ConvTranspose", "LSTM", "GRU", "RNN",
     "Attention"}
)  # fmt: skip
# int8 in, float out: the runtime's fusions of a product with the dequantization behind it
INT8_TO_FLOAT = frozenset({"DequantizeLinear", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"})
INT8_KERNELS = frozenset(
    {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm", "MatMulIntegerToFloat",
     "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "MatMulNBits"}
)  # fmt: skip
KERNELS = FLOAT_KERNELS | INT8_KERNELS
TO_INT8 = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul"})
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
# these read a few rows of a table, not the table
LOOKUPS = frozenset({"Gather", "Slice", "GatherElements", "GatherND", "GatherBlockQuantized"})
LITTLE = 3


@dataclass(frozen=True)
class Weight:
    """A constant of two dimensions or more that the kernel `node` multiplies by."""

    node: str
    op: str
    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions, as the operator takes them."""
        return tuple(self.values.shape)

    @property
    def zeros(self) -> int:
        """Entries that are exactly zero; in integers the most frequent one, which is the zero point of a mask."""
        if np.issubdtype(self.values.dtype, np.integer):
            return int(np.unique(self.values, return_counts=True)[1].max(initial=0))
        return int((self.values == 0).sum())


@dataclass(frozen=True)
class Island:
    """A float stretch between int8 and int8: where it starts, and the light operators inside."""

    start: str
    inside: tuple[str, ...]


def parse_model(content: bytes) -> Any:
    """The graph of an ONNX model, with shapes and constants; raises `MissingExtra` without `onnx`."""
    return require("onnx", extra="train").load_model_from_string(content).graph


def find_weights(graph: Any) -> list[Weight]:
    """The constants that kernels multiply by, through a DequantizeLinear, Cast or Transpose where one is between."""
    numpy_helper = require("onnx.numpy_helper", extra="train")
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type not in KERNELS:
            continue
        for name in node.input:
            while name in made_by and made_by[name].op_type in ("DequantizeLinear", "Cast", "Transpose"):
                name = made_by[name].input[0]
            if name in constants and len(constants[name].dims) >= 2:
                found.append(Weight(node.name, node.op_type, numpy_helper.to_array(constants[name])))
    return found


def count_touched(graph: Any) -> int:
    """Bytes of constants that one row reads: all but tables of which it takes a few rows."""
    numpy_helper = require("onnx.numpy_helper", extra="train")
    looked_up = {node.input[0] for node in graph.node if node.op_type in LOOKUPS}
    read_whole = {name for node in graph.node if node.op_type not in LOOKUPS for name in node.input}
    return sum(
        numpy_helper.to_array(tensor).nbytes
        for tensor in graph.initializer
        if tensor.name in read_whole and tensor.name not in looked_up
    )


def find_islands(graph: Any) -> list[Island]:
    """Places that leave int8 for float and are back after at most three light operators, no kernel among them."""
    constants = {tensor.name for tensor in graph.initializer}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    found = []
    for node in graph.node:
        if node.op_type not in INT8_TO_FLOAT or node.input[0] in constants:
            continue
        inside = _way_back(node, readers, ())
        if inside is not None:
            found.append(Island(node.name, inside))
    return found


def count_between(islands: list[Island]) -> dict[str, int]:
    """How often each operator stands inside an island, the most frequent first."""
    return dict(Counter(op for island in islands for op in island.inside).most_common())


def _way_back(node: Any, readers: dict[str, list[Any]], inside: tuple[str, ...]) -> tuple[str, ...] | None:
    """The light operators between `node` and the next quantization, the shortest way; None when there is none."""
    ways = []
    for name in node.output:
        for reader in readers.get(name, ()):
            if reader.op_type in TO_INT8:
                ways.append(inside)
            elif reader.op_type not in KERNELS and len(inside) < LITTLE:
                way = _way_back(reader, readers, (*inside, reader.op_type))
                if way is not None:
                    ways.append(way)
    return min(ways, key=len, default=None)
