"""Of four weights that are summed together two are left, the larger ones, whatever the operator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compress.small_graphs import WIDTH, norm_then_products
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import numpy_helper

from toolkit.compress.two_four import cut_two_four, keep_two_of_four
from toolkit.errors import InputError
from toolkit.spec import Array


@given(arrays(np.float32, (3, 8, 2), elements=st.floats(-10, 10, width=32)), st.just(1))
def test_two_of_each_four_are_left_and_they_are_the_larger(weights: Array, axis: int) -> None:
    kept = keep_two_of_four(weights, axis)
    assert kept.shape == weights.shape
    before = np.moveaxis(weights, axis, -1).reshape(-1, 4)
    after = np.moveaxis(kept, axis, -1).reshape(-1, 4)
    assert ((after != 0).sum(axis=1) <= 2).all()
    assert np.allclose(np.sort(np.abs(after), axis=1)[:, 2:], np.sort(np.abs(before), axis=1)[:, 2:])
    assert ((after == before) | (after == 0)).all()


def test_cutting_twice_changes_nothing() -> None:
    weights = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    once = keep_two_of_four(weights, 0)
    assert np.array_equal(keep_two_of_four(once, 0), once)


def test_products_of_a_graph_are_cut_along_what_they_sum() -> None:
    made, cut = cut_two_four(norm_then_products())
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(made).graph.initializer}
    assert cut == {"Gemm": 1, "MatMul": 2}
    first, last = tensors["first.weight"], tensors["last.weight"]
    assert first.shape == (WIDTH, 128)
    assert ((first.reshape(WIDTH // 4, 4, 128) != 0).sum(axis=1) == 2).all()
    assert ((last.reshape(last.shape[0], -1, 4) != 0).sum(axis=2) == 2).all(), "transposed: it sums along its rows"


def test_a_graph_without_fours_is_refused() -> None:
    graph = onnx.load_from_string(norm_then_products())
    del graph.graph.node[:]
    with pytest.raises(InputError, match="without --sparse"):
        cut_two_four(graph.SerializeToString())
