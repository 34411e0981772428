"""Embedding tables in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from small_graphs import declare, model_of, run

from toolkit.compress.tables import (
    CLIPS,
    MIDDLE,
    NARROW,
    SMALLEST,
    SMALLEST_FOR_SIZE,
    find_tables,
    quantize_tables,
    round_to_four_bits,
)


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


def test_a_table_in_4_bits_is_half_of_one_in_8() -> None:
    sizes = {}
    for bits in (8, 4):
        model, values = _lookups(2)
        assert quantize_tables(model, bits=bits) == 2
        onnx.checker.check_model(model)
        sizes[bits] = len(model.SerializeToString())
        found = run(model.SerializeToString(), {"ids": np.arange(300)})
    assert {node.op_type for node in model.graph.node} == {"GatherBlockQuantized"}
    assert sizes[4] < 0.57 * sizes[8]
    rows, scales = round_to_four_bits(values)
    assert np.array_equal(found, (rows.astype(np.float32) - MIDDLE) * scales)
    # normal values in 16 steps, placed where they err least: a ninth of their size; each row by its own scale
    apart = np.abs(found - values).mean(axis=1) / np.abs(values).mean(axis=1)
    assert 0.05 < apart.mean() < 0.13
    assert apart.max() < 0.2


def test_4_bits_err_less_where_the_largest_value_is_clipped() -> None:
    values = np.random.default_rng(2).normal(size=(50, 64)).astype(np.float32)
    values[:, 0] = 6.0
    rows, scales = round_to_four_bits(values)
    assert rows.min() >= 0
    assert rows.max() <= 15
    whole = np.abs(values).max(axis=1, keepdims=True) / (MIDDLE - 1)
    plain = np.clip(np.rint(values / whole), -MIDDLE, MIDDLE - 1) * whole
    clipped = (rows.astype(np.float32) - MIDDLE) * scales
    assert ((clipped - values) ** 2).sum() < ((plain - values) ** 2).sum()
    assert (scales <= whole * 1.0001).all()
    assert (scales < whole * 0.99).any()


@given(
    st.integers(1, 6), st.integers(8, 40).map(lambda half: 2 * half), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1)
)
def test_4_bits_never_err_by_more_than_a_clip_and_half_a_step(rows: int, width: int, size: float, seed: int) -> None:
    values = (np.random.default_rng(seed).normal(size=(rows, width)) * size).astype(np.float32)
    found, scales = round_to_four_bits(values)
    back = (found.astype(np.float32) - MIDDLE) * scales
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(back - values) <= scales / 2 + (1 - min(CLIPS)) * largest + 1e-6 * largest).all()


def test_narrow_tables_and_odd_ones_keep_8_bits() -> None:
    for width in (4, 65):
        model, values = _lookups(1, rows=5000, width=width)
        assert quantize_tables(model, bits=4) == 1
        found_bits = [a.i for node in model.graph.node for a in node.attribute if a.name == "bits"]
        assert found_bits == ([] if width < NARROW else [8])
        found = run(model.SerializeToString(), {"ids": np.arange(5000)})
        assert np.abs(found - values).max() <= np.abs(values).max() / 254 * 1.01


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
