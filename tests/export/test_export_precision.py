"""Half precision: small weights, typed casts, float where numbers grow."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.errors import InputError, RecipeError
from toolkit.export.precision import to_bf16, to_fp16

SHAPE = ["n", 64]


def block(*, scale: float = 1.0) -> bytes:
    """x (n, 64) -> norm -> product -> Softmax -> product -> mean of the row beside it, all float32."""
    random = np.random.default_rng(0)
    weights = {"gain": np.ones(64), "w1": random.normal(size=(64, 64)) * scale, "w2": random.normal(size=(64, 64))}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain"], ["normed"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normed", "w1"], ["a"], name="first"),
        helper.make_node("Softmax", ["a"], ["s"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["s", "w2"], ["b"], name="second"),
        helper.make_node("ReduceMean", ["b"], ["mean"], name="mean", axes=[1], keepdims=1),
        helper.make_node("Sub", ["b", "mean"], ["logits"], name="centre"),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def types_of(model: bytes) -> dict[str, int]:
    """The type that inference gives every tensor: strict, so that a wrong one is an error."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def run(model: bytes, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": rows})[0]
    return result


def test_weights_are_half_and_answers_near_and_typed_as_before() -> None:
    model = block()
    made = to_fp16(model)
    types = types_of(made)
    assert types["w1"] == types["w2"] == TensorProto.FLOAT16
    assert types["x"] == types["logits"] == TensorProto.FLOAT
    assert len(made) < 0.6 * len(model)
    rows = np.random.default_rng(1).normal(size=(16, 64)).astype(np.float32)
    assert run(made, rows).dtype == np.float32
    assert np.abs(run(made, rows) - run(model, rows)).max() < 0.01


def test_norms_softmax_and_means_are_done_in_float() -> None:
    made = to_fp16(block())
    types = types_of(made)
    assert types["gain"] == TensorProto.FLOAT
    done = {node.op_type: node for node in onnx.load_from_string(made).graph.node}
    for kind in ("LayerNormalization", "Softmax", "ReduceMean"):
        assert types[done[kind].input[0]] == TensorProto.FLOAT, kind
    for kind in ("MatMul", "Sub"):
        assert types[done[kind].input[0]] == TensorProto.FLOAT16, kind


def test_a_node_named_stays_float() -> None:
    types = types_of(to_fp16(block(), keep_float=("first",)))
    assert types["w1"] == TensorProto.FLOAT
    assert types["w2"] == TensorProto.FLOAT16
    with pytest.raises(RecipeError, match="keep_float names 'third'; no node of this graph has that name"):
        to_fp16(block(), keep_float=("third",))


def test_a_weight_beyond_the_range_becomes_its_end_and_no_infinity() -> None:
    made = to_fp16(block(scale=1e6))
    graph = onnx.load_from_string(made).graph
    (weights,) = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == "w1"]
    assert np.isfinite(weights).all()
    assert np.abs(weights).max() == np.finfo(np.float16).max


def test_a_graph_without_such_weights_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to store in fp16"):
        to_fp16(block(), keep_float=("first", "second"))


def test_bf16_is_typed_throughout_and_answers_as_bf16_rounds() -> None:
    """ONNX Runtime's CPU provider runs no bf16: the reference evaluator of ONNX does."""
    from onnx.reference import ReferenceEvaluator

    model = block()
    made = to_bf16(model)
    types = types_of(made)
    assert types["w1"] == types["w2"] == TensorProto.BFLOAT16
    assert types["x"] == types["logits"] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 not in types.values()
    assert len(made) < 0.6 * len(model)
    rows = np.random.default_rng(2).normal(size=(8, 64)).astype(np.float32)
    expected = run(model, rows)
    found = np.asarray(ReferenceEvaluator(onnx.load_from_string(made)).run(None, {"x": rows})[0], dtype=np.float32)
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_bf16_keeps_what_fp16_would_move_to_its_bounds() -> None:
    made = onnx.load_from_string(to_bf16(block(scale=1e6)))
    (weights,) = [numpy_helper.to_array(tensor) for tensor in made.graph.initializer if tensor.name == "w1"]
    assert np.abs(weights.astype(np.float32)).max() > 65_504
