"""What TensorRT would refuse is found in the file: each rule in a graph that breaks it, none in one that is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.errors import InputError
from toolkit.export.lint import describe_remarks, lint
from toolkit.export.lint.operators import REFUSED
from toolkit.graph_policy import OPERATORS
from toolkit.spec import Array, Input, Spec

SPEC = Spec("text", (Input("x", "float32", ("batch", 8)),), ("a", "b"))
WEIGHTS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
ZERO = np.int8(0)
KERNELS = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)


def model_of(
    nodes: list[Any], constants: dict[str, Array] | None = None, *, shape: tuple[Any, ...] = ("batch", 8),
    kind: int = TensorProto.FLOAT, opset: int = 17,
) -> bytes:  # fmt: skip
    """A graph from x to y, as bytes; not checked by ONNX, since some of these break its rules too."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    content: bytes = helper.make_model(graph, opset_imports=imports).SerializeToString()
    return content


def pair(
    name: str, scale: Any = 0.02, zero: Any = ZERO, *, axis: int | None = None
) -> tuple[list[Any], dict[str, Array]]:
    """Q and DQ of a value, and their constants."""
    settings = {} if axis is None else {"axis": axis}
    scale = np.asarray(scale, dtype=np.float32)
    constants = {f"{name}.s": scale, f"{name}.z": np.broadcast_to(zero, scale.shape).copy()}
    nodes = [
        helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.q"], name=f"{name}.Q", **settings),
        helper.make_node("DequantizeLinear", [f"{name}.q", *constants], [f"{name}.d"], name=f"{name}.DQ", **settings),
    ]
    return nodes, constants


def product(axis: int = 1, channels: int = 4, **activation: Any) -> bytes:
    """x in 8 bits times a weight with a scale a channel: what a right graph looks like."""
    around, constants = pair("x", **activation)
    stored, more = pair("w", np.full(channels, 0.01), axis=axis)
    nodes = [*around, *stored, helper.make_node("MatMul", ["x.d", "w.d"], ["y"], name="product")]
    return model_of(nodes, {"w": WEIGHTS, **constants, **more})


def refusals(model: bytes, spec: Spec = SPEC) -> list[tuple[str, str]]:
    return [(remark.rule, remark.where) for remark in lint(model, spec) if remark.refused]


def test_a_right_graph_is_taken() -> None:
    assert lint(product(), SPEC) == ()
    assert describe_remarks(()) == "nothing found that TensorRT 11 refuses"


@pytest.mark.parametrize(
    ("zero", "rule"),
    [(np.uint8(128), "unsigned"), (np.uint8(0), "unsigned"), (np.int8(3), "asymmetric"), (np.int16(0), "type")],
)
def test_a_zero_point_is_zero_and_signed(zero: Any, rule: str) -> None:
    assert refusals(product(zero=zero)) == [(rule, "x.Q"), (rule, "x.DQ")]


def test_a_missing_zero_point_is_unsigned_by_onnx() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="Q"),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], name="DQ"),
    ]
    assert refusals(model_of(nodes, {"s": np.float32(0.1)})) == [("unsigned", "Q")]
    nodes[0].attribute.append(helper.make_attribute("output_dtype", TensorProto.INT8))
    assert refusals(model_of(nodes, {"s": np.float32(0.1)}, opset=21)) == []


def test_a_computed_zero_point_or_scale_is_refused() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["s"], name="largest", keepdims=0),
        helper.make_node("Cast", ["s"], ["z"], name="cast", to=TensorProto.INT32),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="Q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="DQ"),
    ]
    assert refusals(model_of(nodes)) == [("asymmetric", "Q"), ("scale", "Q"), ("asymmetric", "DQ"), ("scale", "DQ")]


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_is_above_zero(scale: float) -> None:
    assert refusals(product(scale=scale)) == [("scale", "x.Q"), ("scale", "x.DQ")]


def test_scales_lie_along_the_output_of_the_product() -> None:
    assert refusals(product(axis=0, channels=8)) == [("axis", "w.Q"), ("axis", "w.DQ")]
    assert refusals(product(axis=-1)) == []


@pytest.mark.parametrize(
    ("kind", "settings", "right"),
    [("Conv", {}, 0), ("ConvTranspose", {}, 1), ("Gemm", {"transB": 1}, 0), ("Gemm", {"transB": 0}, 1)],
)
def test_each_product_has_an_axis_of_its_own(kind: str, settings: dict[str, Any], right: int) -> None:
    weights = KERNELS if "Conv" in kind else WEIGHTS
    for axis in (0, 1):
        stored, constants = pair("w", np.full(weights.shape[axis], 0.01), axis=axis)
        nodes = [*stored, helper.make_node(kind, ["x", "w.d"], ["y"], name="product", **settings)]
        shape = ("batch", 3, 6, 6) if "Conv" in kind else ("batch", 8)
        spec = Spec("image", (Input("x", "float32", shape),), ("a", "b"))
        found = refusals(model_of(nodes, {"w": weights, **constants}, shape=shape), spec)
        assert found == ([] if axis == right else [("axis", "w.Q"), ("axis", "w.DQ")])


def test_an_axis_is_followed_through_a_transpose() -> None:
    for axis, expected in ((0, []), (1, [("axis", "w.Q"), ("axis", "w.DQ")])):
        stored, constants = pair("w", np.full(WEIGHTS.T.shape[axis], 0.01), axis=axis)
        turned = helper.make_node("Transpose", ["w.d"], ["t"], name="turn", perm=[1, 0])
        nodes = [*stored, turned, helper.make_node("MatMul", ["x", "t"], ["y"], name="product")]
        assert refusals(model_of(nodes, {"w": WEIGHTS.T.copy(), **constants})) == expected


def test_stored_weights_are_judged_like_rounded_ones() -> None:
    constants = {"w": np.ones((8, 4), np.int8), "s": np.full(8, 0.1, np.float32), "z": np.zeros(8, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], name="DQ", axis=0),
        helper.make_node("MatMul", ["x", "d"], ["y"], name="product"),
    ]
    assert refusals(model_of(nodes, constants)) == [("axis", "DQ")]


def test_an_activation_has_one_scale() -> None:
    around, constants = pair("x", np.full(8, 0.1), axis=1)
    nodes = [*around, helper.make_node("MatMul", ["x.d", "w"], ["y"], name="product")]
    assert refusals(model_of(nodes, {"w": WEIGHTS, **constants})) == [("axis", "x.Q"), ("axis", "x.DQ")]


def test_a_bias_stays_float() -> None:
    constants = {"w": WEIGHTS, "b": np.ones(4, np.int32), "s": np.full(4, 0.1, np.float32), "z": np.zeros(4, np.int32)}
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["bias"], name="DQ", axis=0),
        helper.make_node("Gemm", ["x", "w", "bias"], ["y"], name="product"),
    ]
    assert refusals(model_of(nodes, constants)) == [("bias", "DQ")]


def test_a_pair_between_a_convolution_and_its_relu_costs() -> None:
    around, constants = pair("c")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"), *around,
        helper.make_node("Relu", ["c.d"], ["y"], name="relu"),
    ]  # fmt: skip
    spec = Spec("image", (Input("x", "float32", ("batch", 3, 6, 6)),), ("a", "b"))
    found = lint(model_of(nodes, {"w": KERNELS, **constants}, shape=("batch", 3, 6, 6)), spec)
    assert [(remark.rule, remark.where, remark.refused) for remark in found] == [("fusion", "c.DQ", False)]
    assert describe_remarks(found) == "nothing found that TensorRT 11 refuses; taken, at a cost: fusion 1"


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_operators_that_the_parser_lacks(kind: str) -> None:
    found = lint(model_of([helper.make_node(kind, ["x"], ["y"], name="it")]), SPEC)
    assert [(remark.rule, remark.where) for remark in found] == [("operator", "it")]
    assert "ONNX Runtime runs it" in found[0].words


def test_what_is_refused_is_something_that_an_artifact_may_hold() -> None:
    assert {kind.encode() for kind in REFUSED} <= OPERATORS


def test_the_kernels_of_onnx_runtime_are_its_own() -> None:
    node = helper.make_node("QAttention", ["x"], ["y"], name="it", domain="com.microsoft")
    (found,) = lint(model_of([node]), SPEC)
    assert found.rule == "operator"
    assert "com.microsoft:QAttention" in found.words


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (("LSTM", {"layout": 1}), "layout is 1, only 0"),
        (("LSTM", {"direction": "bidirectional", "activations": ["Tanh", "Tanh", "Tanh", "Relu", "Tanh", "Tanh"]}),
         "different activations"),
        (("MaxPool", {"kernel_shape": [2]}), "over 1 axes"),
        (("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 1]}), "dilations"),
        (("ScatterND", {"reduction": "add"}), "reduction is add, only none"),
    ],
)  # fmt: skip
def test_forms_that_the_parser_lacks(node: tuple[str, dict[str, Any]], words: str) -> None:
    kind, settings = node
    (found,) = lint(model_of([helper.make_node(kind, ["x"], ["y"], name="it", **settings)]), SPEC)
    assert found.rule == "operator"
    assert words in found.words


def test_forms_that_it_has_pass() -> None:
    for kind, settings in (
        ("LSTM", {"direction": "bidirectional", "activations": ["Sigmoid", "Tanh", "Tanh"] * 2}),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [1, 1]}), ("ScatterND", {}), ("LayerNormalization", {}),
    ):  # fmt: skip
        assert lint(model_of([helper.make_node(kind, ["x"], ["y"], name="it", **settings)]), SPEC) == ()


def test_second_outputs_are_refused() -> None:
    for kind, settings in (("MaxPool", {"kernel_shape": [2, 2]}), ("LayerNormalization", {})):
        node = helper.make_node(kind, ["x"], ["y", "more"], name="it", **settings)
        assert refusals(model_of([node])) == [("operator", "it")]


def test_what_must_be_known_when_the_engine_is_built() -> None:
    axes = helper.make_node("Shape", ["x"], ["axes"], name="shape")
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], name="sum")
    assert refusals(model_of([axes, node])) == [("operator", "sum")]
    assert refusals(model_of([node], {"axes": np.array([1])})) == []


@pytest.mark.parametrize(("opset", "found"), [(8, 1), (9, 0), (25, 0), (26, 1)])
def test_the_opset_is_one_that_the_parser_reads(opset: int, found: int) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"], name="relu")], opset=opset)
    assert [rule for rule, _ in refusals(model)] == ["opset"] * found


def test_an_axis_that_varies_needs_limits() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"], name="relu")], shape=("batch", "length"))
    for limits, expected in (({"length": (1, 64)}, []), ({}, [("profile", "x")])):
        spec = Spec("text", (Input("x", "float32", ("batch", "length")),), ("a", "b"), limits)
        assert refusals(model, spec) == expected
    nameless = model_of([helper.make_node("Relu", ["x"], ["y"], name="relu")], shape=("batch", None))
    assert refusals(nameless, SPEC) == [], "the artifact says that this axis has 8 values"


def test_types_that_are_lacking_and_types_that_cost() -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], name="cast", to=TensorProto.FLOAT)
    for kind, expected in (
        (TensorProto.UINT8, []), (TensorProto.INT32, []), (TensorProto.INT64, [("int64", False)]),
        (TensorProto.DOUBLE, [("type", False)]), (TensorProto.UINT16, [("type", True)]),
        (TensorProto.INT8, [("type", True)]),
    ):  # fmt: skip
        found = lint(model_of([cast], kind=kind), SPEC)
        assert [(remark.rule, remark.refused) for remark in found] == expected, kind
    to_small = helper.make_node("Cast", ["x"], ["y"], name="cast", to=TensorProto.UINT8)
    assert refusals(model_of([to_small])) == [("type", "cast")]
    add = helper.make_node("Add", ["x", "c"], ["y"], name="add")
    assert refusals(model_of([add], {"c": np.ones(8, np.int8)})) == [("type", "c")]


def test_constants_of_kernels_that_are_refused_are_not_remarked_once_more() -> None:
    node = helper.make_node("DynamicQuantizeMatMul", ["x", "w"], ["y"], name="it", domain="com.microsoft")
    assert refusals(model_of([node], {"w": np.ones((8, 4), np.int8)})) == [("operator", "it")]


def test_constants_in_nodes_are_constants() -> None:
    made = {"s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("Constant", [], [k], value=numpy_helper.from_array(np.asarray(v))) for k, v in made.items()
    ]
    nodes += [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="Q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="DQ"),
    ]
    assert lint(model_of(nodes), SPEC) == ()


def test_refusals_come_first_and_are_counted() -> None:
    double = helper.make_node("Cast", ["x"], ["a"], name="cast", to=TensorProto.DOUBLE)
    found = lint(model_of([double, helper.make_node("BitShift", ["a"], ["y"], name="it")]), SPEC)
    assert [remark.refused for remark in found] == [True, False]
    assert describe_remarks(found) == "TensorRT 11 would refuse this graph (operator 1); taken, at a cost: type 1"
    assert found[1].to_json() == {
        "rule": "type", "where": "cast", "words": "DOUBLE is computed as FLOAT, clamped to its range", "refused": False,
    }  # fmt: skip


def test_what_is_no_model_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no ONNX model"):
        lint(b"\xff\xff\xff not a model", SPEC)
