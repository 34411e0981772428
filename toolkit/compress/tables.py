"""Embedding tables in INT8, one scale a row: half of MiniLM's bytes, and no arithmetic at all.

A table is only looked up, so storing it in 8 bits costs one multiplication of the rows that were asked for
and makes the file four times smaller. ONNX Runtime's own quantizer gives a whole table one scale; one a row
costs 4 bytes each and moved logits a third as far (TREC, MiniLM: at most 0.10 against 0.29). Of rows narrower than
`NARROW` values those 4 bytes would be much of the row: they get one scale a column.
Limit: tables smaller than `SMALLEST` values stay as they are, the two extra operations would outweigh them; where
size is all that is asked (mode weights), those smaller than `SMALLEST_FOR_SIZE`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from toolkit.spec import Array

SMALLEST, SMALLEST_FOR_SIZE = 16_384, 1_024
NARROW = 16


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


def quantize_tables(model: Any, *, keep_float: Container[str] = (), smallest: int = SMALLEST) -> int:
    """Replace, in place, each table of `find_tables` by int8 rows and their scales; returns how many lookups.

    A lookup named in `keep_float` goes on reading float rows.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    found = [node for node in find_tables(model, smallest=smallest) if node.name not in keep_float]
    lookups, names = {node.name for node in found}, {node.input[0] for node in found}
    by_column: set[str] = set()
    for table in [table for table in graph.initializer if table.name in names]:
        values = numpy_helper.to_array(table)
        narrow = values.shape[1] < NARROW
        rows, scales = round_columns(values) if narrow else round_rows(values)
        by_column |= {table.name} if narrow else set()
        graph.initializer.append(numpy_helper.from_array(rows, f"{table.name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{table.name}.scale"))
        if not any(table.name in node.input and node.name not in lookups for node in graph.node):
            graph.initializer.remove(table)
    nodes = []
    for node in graph.node:
        if node.name not in lookups:
            nodes.append(node)
            continue
        table, ids, out = node.input[0], node.input[1], node.output[0]
        scale = f"{table}.scale"
        if table not in by_column:
            scale = f"{out}.scale"
            nodes.append(helper.make_node("Gather", [f"{table}.scale", ids], [scale], name=f"{node.name}/scale"))
        nodes += [
            helper.make_node("Gather", [f"{table}.int8", ids], [f"{out}.int8"], name=f"{node.name}/int8"),
            helper.make_node("Cast", [f"{out}.int8"], [f"{out}.float"], name=f"{node.name}/Cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.float", scale], [out], name=f"{node.name}/Mul"),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    return len(found)


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
