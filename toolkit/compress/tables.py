"""Embedding tables in 8 or 4 bits, one scale a row: half of MiniLM's bytes, and no arithmetic at all.

A table is only looked up, so it can be stored small and turned back row by row: one kernel of ONNX Runtime's
(`GatherBlockQuantized`) does both. Its own quantizer gives a whole table one scale; one a row costs 4 bytes each and
moved logits a third as far (TREC, MiniLM: at most 0.10 against 0.29). Of rows narrower than `NARROW` values those 4
bytes would be much of the row: they get one scale a column, and three plain operators.

In 4 bits each row's scale is the one of `CLIPS` that errs least: the largest value of a row is rarely worth coarser
steps for all others. It suits a table that was turned at random (`factorize`), whose rows have no outliers.
Limit: tables smaller than `SMALLEST` values stay as they are, the lookup would outweigh them; where size is all that
is asked (mode weights), those smaller than `SMALLEST_FOR_SIZE`. A row of an odd number of values, or a narrow one, has
8 bits where 4 were asked for.

Source: ONNX Runtime, contributed operator GatherBlockQuantized.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np

from toolkit.compress.cpu_kernels import DOMAIN, name_domain
from toolkit.spec import Array

SMALLEST, SMALLEST_FOR_SIZE = 16_384, 1_024
NARROW = 16
# shares of a row's largest value that 4 bits may reach
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65)
MIDDLE = 8  # the kernel's zero point of 4 bits


def find_tables(model: Any, *, smallest: int = SMALLEST) -> list[Any]:
    """The Gather nodes of an ONNX `model` that look rows up in a two-dimensional float32 table of `smallest` values."""
    from onnx import TensorProto

    large = {
        table.name
        for table in model.graph.initializer
        if len(table.dims) == 2 and table.data_type == TensorProto.FLOAT and np.prod(table.dims) >= smallest
    }
    return [
        node for node in model.graph.node if node.op_type == "Gather" and node.input[0] in large and not _axis(node)
    ]


def quantize_tables(model: Any, *, keep_float: Container[str] = (), smallest: int = SMALLEST, bits: int = 8) -> int:
    """Replace, in place, each table of `find_tables` by rows of `bits` bits and their scales; returns how many lookups.

    A lookup named in `keep_float` goes on reading float rows.
    """
    from onnx import numpy_helper

    graph = model.graph
    found = [node for node in find_tables(model, smallest=smallest) if node.name not in keep_float]
    lookups, names = {node.name for node in found}, {node.input[0] for node in found}
    new: dict[str, Any] = {}  # table -> what looks its rows up
    for table in [table for table in graph.initializer if table.name in names]:
        values = numpy_helper.to_array(table)
        if values.shape[1] < NARROW:
            tensors, new[table.name] = _by_column(table.name, values)
        else:
            tensors, new[table.name] = _by_row(table.name, values, bits if values.shape[1] % 2 == 0 else 8)
        graph.initializer.extend(tensors)
        if not any(table.name in node.input and node.name not in lookups for node in graph.node):
            graph.initializer.remove(table)
    nodes: list[Any] = []
    for node in graph.node:
        nodes += new[node.input[0]](node) if node.name in lookups else [node]
    del graph.node[:]
    graph.node.extend(nodes)
    if any(node.domain == DOMAIN for node in nodes):
        name_domain(model)
    return len(found)


def _by_column(name: str, values: Array) -> tuple[list[Any], Callable[[Any], list[Any]]]:
    """The tensors of a narrow table in int8, and the operators in place of a lookup in it."""
    from onnx import TensorProto, helper, numpy_helper

    rows, scales = round_columns(values)
    tensors = [numpy_helper.from_array(rows, f"{name}.int8"), numpy_helper.from_array(scales, f"{name}.scale")]

    def look_up(node: Any) -> list[Any]:
        ids, out = node.input[1], node.output[0]
        return [
            helper.make_node("Gather", [f"{name}.int8", ids], [f"{out}.int8"], name=f"{node.name}/int8"),
            helper.make_node("Cast", [f"{out}.int8"], [f"{out}.float"], name=f"{node.name}/Cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.float", f"{name}.scale"], [out], name=f"{node.name}/Mul"),
        ]

    return tensors, look_up


def _by_row(name: str, values: Array, bits: int) -> tuple[list[Any], Callable[[Any], list[Any]]]:
    """The tensors of a table in `bits` bits, 4 of them two values a byte, and the kernel in place of a lookup."""
    from onnx import helper, numpy_helper

    if bits == 4:
        steps, scales = round_to_four_bits(values)
        stored = steps[:, ::2] | (steps[:, 1::2] << 4)
    else:
        rows, scales = round_rows(values)
        stored = (rows.astype(np.int16) + 128).astype(np.uint8)  # the kernel's own zero point
    tensors = [numpy_helper.from_array(stored, f"{name}.int{bits}"), numpy_helper.from_array(scales, f"{name}.scale")]
    block = 1 << (values.shape[1] - 1).bit_length()  # a power of two, and one block a row

    def look_up(node: Any) -> list[Any]:
        read = [f"{name}.int{bits}", node.input[1], f"{name}.scale"]
        return [
            helper.make_node(
                "GatherBlockQuantized", read, [node.output[0]], name=f"{node.name}/int{bits}", domain=DOMAIN,
                gather_axis=0, quantize_axis=1, block_size=block, bits=bits,
            )
        ]  # fmt: skip

    return tensors, look_up


def round_to_four_bits(table: Array) -> tuple[Array, Array]:
    """uint8 (rows, width) from 0 to 15 with `MIDDLE` for 0, and float32 scales (rows, 1) that give `table` back."""
    largest = np.maximum(np.abs(table).max(axis=1, keepdims=True), np.float32(1e-8))
    best, least = np.zeros_like(largest), np.full_like(largest, np.inf)
    for clip in CLIPS:
        scales = largest * np.float32(clip / (MIDDLE - 1))
        apart = ((_steps(table, scales) * scales - table) ** 2).sum(axis=1, keepdims=True)
        best, least = np.where(apart < least, scales, best), np.minimum(apart, least)
    return (_steps(table, best) + MIDDLE).astype(np.uint8), best


def _steps(table: Array, scales: Array) -> Array:
    steps: Array = np.clip(np.rint(table / scales), -MIDDLE, MIDDLE - 1)
    return steps


def round_rows(table: Array) -> tuple[Array, Array]:
    """int8 (rows, width) and float32 scales (rows, 1) whose product is `table` in 8 bits; rounded again it stays."""
    return _round(table, axis=1)


def round_columns(table: Array) -> tuple[Array, Array]:
    """As `round_rows`, with float32 scales (1, width)."""
    return _round(table, axis=0)


def _round(table: Array, *, axis: int) -> tuple[Array, Array]:
    scales = np.maximum(np.abs(table).max(axis=axis, keepdims=True), np.float32(1e-8)) / np.float32(127)
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
