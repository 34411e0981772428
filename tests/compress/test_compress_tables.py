"""Embedding tables in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_graphs import declare, model_of, run

from toolkit.compress.tables import NARROW, SMALLEST, SMALLEST_FOR_SIZE, find_tables, quantize_tables


def _lookups(count: int, *, rows: int = 300, width: int = 64) -> tuple[onnx.ModelProto, np.ndarray]:
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    values[5] *= 100.0  # a row that would coarsen all others if they shared its scale
    nodes = [helper.make_node("Gather", ["table", "ids"], [f"rows{at}"], name=f"lookup{at}") for at in range(count)]
    outputs = [declare(f"rows{at}", ["batch", width]) for at in range(count)]
    model = model_of(nodes, [declare("ids", ["batch"], TensorProto.INT64)], outputs, {"table": values})
    return onnx.load_from_string(model), values


def test_a_table_has_one_scale_a_row() -> None:
    model, values = _lookups(1)
    assert quantize_tables(model) == 1
    onnx.checker.check_model(model)
    found = run(model.SerializeToString(), {"ids": np.arange(300)})
    limit = np.abs(values).max(axis=1, keepdims=True) / 254 * 1.01
    assert (np.abs(found - values) <= limit).all()
    assert len(model.SerializeToString()) < 0.3 * values.nbytes


def test_a_lookup_kept_float_reads_the_float_rows() -> None:
    model, values = _lookups(2)
    assert [node.name for node in find_tables(model)] == ["lookup0", "lookup1"]
    assert quantize_tables(model, keep_float=("lookup0",)) == 1
    assert np.array_equal(run(model.SerializeToString(), {"ids": np.arange(300)}), values)


def test_a_narrow_table_has_one_scale_a_column() -> None:
    model, values = _lookups(1, rows=5000, width=4)
    assert values.shape[1] < NARROW
    assert quantize_tables(model) == 1
    onnx.checker.check_model(model)
    found = run(model.SerializeToString(), {"ids": np.arange(5000)})
    assert (np.abs(found - values) <= np.abs(values).max(axis=0) / 254 * 1.01).all()
    assert len(model.SerializeToString()) < 0.27 * values.nbytes


def test_small_tables_pay_only_where_size_is_all_that_is_asked() -> None:
    model, values = _lookups(1, rows=40)
    assert SMALLEST_FOR_SIZE <= values.size < SMALLEST
    assert quantize_tables(model) == 0
    assert quantize_tables(model, smallest=SMALLEST_FOR_SIZE) == 1
