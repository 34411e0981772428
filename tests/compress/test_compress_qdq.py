"""Q/DQ as the exporter writes it, made a small file with fast kernels: the numbers must stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.compress.qdq import finish_graph, without_rounding
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(5, 8)).astype(np.float32)
KERNELS = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
ROWS = {"x": RNG.normal(size=(6, 8)).astype(np.float32)}
PICTURES = {"x": RNG.normal(size=(2, 3, 6, 6)).astype(np.float32)}


def _around(name: str, scale: Array, axis: int | None = None) -> list[Any]:
    """Q and DQ of the tensor `name` as modelopt writes them: constants as nodes, zero points of int8."""
    scale = np.asarray(scale, dtype=np.float32)
    constants = {f"{name}.scale": scale, f"{name}.point": np.zeros(scale.shape, dtype=np.int8)}
    made = [helper.make_node("Constant", [], [k], value=numpy_helper.from_array(v)) for k, v in constants.items()]
    settings = {} if axis is None else {"axis": axis}
    made.append(helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.q"], **settings))
    made.append(helper.make_node("DequantizeLinear", [f"{name}.q", *constants], [f"{name}.dq"], **settings))
    return made


def _model(nodes: list[Any], weights: dict[str, Array], shape: list[Any], made: list[Any]) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _product() -> Any:
    nodes = [
        *_around("x", np.array(0.02)),
        *_around("w", np.abs(WEIGHTS).max(axis=1) / 127, axis=0),
        helper.make_node("Transpose", ["w.dq"], ["w.t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x.dq", "w.t"], ["y"]),
    ]
    return _model(nodes, {"w": WEIGHTS}, ["n", 8], ["n", 5])


def _convolution() -> Any:
    nodes = [
        *_around("x", np.array(0.02)),
        *_around("w", np.abs(KERNELS).max(axis=(1, 2, 3)) / 127, axis=0),
        helper.make_node("Conv", ["x.dq", "w.dq", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return _model(nodes, {"w": KERNELS, "b": BIAS}, ["n", 3, 6, 6], ["n", 4, 6, 6])


def _run(model: Any, rows: dict[str, Array]) -> Array:
    with OnnxRunner(model.SerializeToString(), optimized=False) as runner:
        return runner.run(rows)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_the_numbers_of_a_product_stay_to_the_last_bit(target: str) -> None:
    model = _product()
    before = _run(model, ROWS)
    assert finish_graph(model, target=target) == {"MatMul": 1}
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(_run(model, ROWS), before)
    kinds = [node.op_type for node in model.graph.node]
    assert sorted(kinds) == ["DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert (stored["w.int8"].dtype, stored["w.int8"].shape) == (np.int8, (8, 5)), "turned as the product reads it"
    assert "w" not in stored


@pytest.mark.parametrize(("target", "point"), [("cpu", np.uint8(128)), ("tensorrt", np.int8(0))])
def test_activations_are_unsigned_for_a_cpu_alone(target: str, point: np.generic) -> None:
    model = _product()
    finish_graph(model, target=target)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (rounding,) = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    found = stored[rounding.input[2]]
    assert (found.dtype, found.item()) == (point.dtype, point.item())


def test_a_bias_moves_by_half_a_step_at_most_for_a_cpu() -> None:
    model, steps = _convolution(), 0.02 * np.abs(KERNELS).max(axis=(1, 2, 3)) / 127
    before = _run(model, PICTURES)
    finish_graph(model, target="cpu")
    apart = np.abs(_run(model, PICTURES) - before).max(axis=(0, 2, 3))
    assert (apart <= 0.5 * steps + 1e-5).all()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored["b.int32"].dtype == np.int32


def test_a_bias_stays_float_for_tensorrt() -> None:
    model = _convolution()
    before = _run(model, PICTURES)
    finish_graph(model, target="tensorrt")
    assert np.array_equal(_run(model, PICTURES), before)
    assert "b" in {tensor.name for tensor in model.graph.initializer}


def test_without_rounding_it_is_the_product_of_floats() -> None:
    model = _product()
    before = model.SerializeToString()
    plain = without_rounding(model)
    assert model.SerializeToString() == before
    assert not [node for node in plain.graph.node if node.op_type.endswith("tizeLinear")]
    assert np.abs(_run(plain, ROWS) - ROWS["x"] @ WEIGHTS.T).max() < 1e-5
    assert np.abs(_run(model, ROWS) - ROWS["x"] @ WEIGHTS.T).max() > 1e-3, "rounding would have shown"
