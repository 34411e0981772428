"""Graphs in 8 bits: one for CPU kernels, one for TensorRT, what stays float, convolutions over tokens."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from small_graphs import (
    declare,
    model_of,
    nodes_of,
    norm_then_products,
    rows_of,
    run,
    token_convolution,
    two_layers,
    weights_of,
)

from toolkit.compress.int8 import apply, prepare, prepare_graph, quantize_graph
from toolkit.compress.operators import find_nodes
from toolkit.compress.scheme import Scheme
from toolkit.errors import InputError, RecipeError
from toolkit.spec import Array


def _relative(expected: Array, found: Array) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_a_graph_for_tensorrt_is_symmetric_and_signed_and_runs_on_a_cpu_too() -> None:
    model = norm_then_products()
    rows = rows_of(model, 64)
    made = quantize_graph(model, Scheme(target="tensorrt"), batches=[rows]).model
    weights = weights_of(made)
    pairs = nodes_of(made, "QuantizeLinear")
    assert pairs
    for node in (*pairs, *nodes_of(made, "DequantizeLinear")):
        zero = weights[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any(), f"{node.name} has a zero point"
    assert "last.bias" in weights, "a bias stays float"
    assert weights["last.bias"].dtype == np.float32
    products = {node.output[0] for kind in ("MatMul", "Gemm") for node in nodes_of(made, kind)}
    assert not products & {node.input[0] for node in pairs}, "nothing is converted behind a product"
    assert _relative(run(model, rows), run(made, rows)) < 0.05


def test_weights_have_one_scale_an_output_channel_on_the_right_axis() -> None:
    model = norm_then_products()
    made = quantize_graph(model, Scheme(target="tensorrt"), batches=[rows_of(model, 16)]).model
    weights, before = weights_of(made), weights_of(model)
    axes = {}
    for node in nodes_of(made, "DequantizeLinear"):
        if node.input[0] in weights:
            axis = next(int(a.i) for a in node.attribute if a.name == "axis")
            axes[node.input[0].removesuffix("_quantized")] = (axis, weights[node.input[1]].size)
            shape = [1, 1]
            shape[axis] = -1
            restored = weights[node.input[0]] * weights[node.input[1]].reshape(shape)
            assert _relative(before[node.input[0].removesuffix("_quantized")], restored) < 0.005
    assert axes == {"first.weight": (1, 128), "second.weight": (1, 128), "last.weight": (0, 48)}


def test_a_graph_for_a_cpu_has_unsigned_activations_with_zero_points() -> None:
    model = norm_then_products()
    made = quantize_graph(model, Scheme(), batches=[rows_of(model, 64)]).model
    zeros = [weights_of(made)[node.input[2]] for node in nodes_of(made, "QuantizeLinear")]
    assert {zero.dtype for zero in zeros} == {np.dtype(np.uint8)}
    assert any(zero.any() for zero in zeros)


def test_tables_are_int8_for_a_cpu_and_float_for_tensorrt() -> None:
    model = token_convolution()
    batches = [rows_of(model, 64)]
    cpu, gpu = (quantize_graph(model, Scheme(target=target), batches=batches) for target in ("cpu", "tensorrt"))
    assert cpu.int8["embedding table"] == 1
    assert "embedding table" not in gpu.int8
    assert weights_of(gpu.model)["table"].dtype == np.float32
    assert "table" not in weights_of(cpu.model)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_convolution_over_tokens_is_quantized(target: str) -> None:
    model = token_convolution()
    rows = rows_of(model, 64)
    made = quantize_graph(model, Scheme(target=target), batches=[rows])
    assert made.int8["Conv"] == 1
    assert made.left == {"Gemm": 1}, "the last product has few weights and decides"
    assert _relative(run(model, rows), run(made.model, rows)) < 0.05
    after_conv = {name for node in nodes_of(made.model, "Conv") for name in node.output}
    between = [node for node in nodes_of(made.model, "QuantizeLinear") if node.input[0] in after_conv]
    assert not (between and target == "tensorrt"), "TensorRT fuses Relu into the convolution before it"


def test_only_what_convolutions_feed_runs_in_8_bits_between_them() -> None:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"], name="before"),
        helper.make_node("Conv", ["positive", "w"], ["c"], name="conv", pads=[1, 1]),
        helper.make_node("Add", ["c", "x"], ["with float"], name="mixed"),
        helper.make_node("Relu", ["c"], ["y"], name="after"),
        helper.make_node("Mul", ["with float", "y"], ["out"], name="end"),
    ]
    shape = ["n", 8, "length"]
    model = model_of(nodes, [declare("x", shape)], [declare("out", shape)], {"w": random.normal(size=(8, 8, 3))})
    graph = prepare_graph(model)
    assert find_nodes(graph, "static") == ["conv", "after"]
    assert find_nodes(graph, "static", target="tensorrt") == ["conv"]
    assert find_nodes(graph, "static", keep_float=("conv",)) == []


@pytest.mark.parametrize("mode", ["static", "dynamic", "weights"])
def test_a_node_named_stays_float_and_the_rest_does_not(mode: str) -> None:
    model = norm_then_products()
    made = quantize_graph(model, Scheme(mode, keep_float=("second",)), batches=[rows_of(model, 16)])
    assert made.int8 == {"Gemm": 1, "MatMul": 1}
    assert made.left == {"MatMul": 1}
    assert "second.weight" in weights_of(made.model)
    assert "first.weight" not in weights_of(made.model)


def test_a_table_named_stays_float() -> None:
    model = token_convolution()
    made = quantize_graph(model, Scheme(keep_float=("lookup",)), batches=[rows_of(model, 16)])
    assert "embedding table" not in made.int8
    assert "table" in weights_of(made.model)


@pytest.mark.parametrize("rows", ["n", 1], ids=["any rows", "one row"])
def test_a_dynamic_gemm_is_an_integer_product(rows: int | str) -> None:
    model = two_layers(rows)
    made = quantize_graph(model, Scheme("dynamic"))
    assert made.int8 == {"Gemm": 2}
    assert made.left == {}
    assert len(nodes_of(made.model, "MatMulInteger")) == 2
    assert not nodes_of(made.model, "MatMul")
    assert not nodes_of(made.model, "Gemm")
    one = rows_of(model, 1)
    assert _relative(run(model, one), run(made.model, one)) < 0.05


@pytest.mark.parametrize("mode", ["static", "weights"])
def test_a_gemm_of_fixed_shapes_has_its_weights_in_8_bits(mode: str) -> None:
    model = two_layers(1)
    made = quantize_graph(model, Scheme(mode), batches=[rows_of(model, 1, seed=seed) for seed in range(16)])
    assert made.int8["Gemm"] == 2
    assert made.left == {}
    found = weights_of(made.model)
    assert not {"first.weight", "last.weight"} & set(found)
    assert sum(value.dtype == np.int8 and value.ndim == 2 for value in found.values()) == 2


def test_what_stays_float_although_it_was_asked_for_is_refused_by_name() -> None:
    model = two_layers(alpha=0.5)  # ONNX Runtime has no dynamic form of it
    with pytest.raises(InputError, match="mode dynamic cannot quantize Gemm 'first', it stayed float; name it in keep"):
        quantize_graph(model, Scheme("dynamic"))
    made = quantize_graph(model, Scheme("dynamic", keep_float=("first",)))
    assert (made.int8, made.left) == ({"Gemm": 1}, {"Gemm": 1})
    assert quantize_graph(model, Scheme(), batches=[rows_of(model, 16)]).int8["Gemm"] == 2


def test_products_in_4_bits_and_those_that_get_8_are_counted_apart() -> None:
    made = quantize_graph(norm_then_products(), Scheme("weights", bits=4))
    assert (made.int4, made.int8, made.left) == ({"MatMul": 2}, {"Gemm": 1}, {})
    assert len(nodes_of(made.model, "MatMulNBits")) == 2


def test_a_name_that_is_not_quantized_is_refused_with_those_that_are() -> None:
    model = norm_then_products()
    for name in ("third", "relu"):
        with pytest.raises(
            RecipeError, match=f"keep_float names '{name}', which mode static does not quantize; it does: first, second"
        ):
            quantize_graph(model, Scheme(keep_float=(name,)), batches=[rows_of(model, 4)])
    with pytest.raises(InputError, match="keep_float names every operator"):
        quantize_graph(model, Scheme("weights", keep_float=("first", "second", "last")))


def test_one_preparation_makes_many_graphs() -> None:
    model = norm_then_products()
    prepared = prepare(model, Scheme(), batches=[rows_of(model, 16)])
    before = prepared.graph.SerializeToString()
    whole, part = apply(prepared, Scheme()), apply(prepared, Scheme(keep_float=("last",)))
    assert prepared.graph.SerializeToString() == before
    assert whole.model == quantize_graph(model, Scheme(), batches=[rows_of(model, 16)]).model
    assert part.left == {"Gemm": 1}


def test_a_graph_without_weights_is_refused() -> None:
    model = model_of([helper.make_node("Relu", ["a"], ["b"])], [declare("a", ["n", 4])], [declare("b", ["n", 4])], {})
    with pytest.raises(InputError, match="nothing to quantize: mode dynamic takes MatMul, Gemm, LSTM"):
        quantize_graph(model, Scheme("dynamic"))


def test_a_quantized_graph_is_a_valid_one() -> None:
    for model in (norm_then_products(), token_convolution()):
        for target in ("cpu", "tensorrt"):
            made = quantize_graph(model, Scheme(target=target), batches=[rows_of(model, 8)]).model
            onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
