"""Cuts in a graph: its answers stay, its inputs and outputs are the ones asked for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from toolkit.export.surgery import drop_identities, keep_output, rename_input, zero_input


def model() -> onnx.ModelProto:
    """scores = table[types] + ids * Identity(weight), and a second output nobody wants."""
    nodes = [
        helper.make_node("Identity", ["weight"], ["same"]),
        helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "same"], ["scaled"]),
        helper.make_node("Gather", ["table", "types"], ["typed"]),
        helper.make_node("Add", ["scaled", "typed"], ["logits"]),
    ]
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "typed",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("ids", "types")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("scaled", "logits")],
        [
            numpy_helper.from_array(np.float32([3.0]), "weight"),
            numpy_helper.from_array(np.float32([0.5, 7.0]), "table"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(changed: onnx.ModelProto, **arrays: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(changed, full_check=True)
    session = onnxruntime.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, arrays)


IDS = np.asarray([[1, 2, 3], [4, 5, 6]], dtype=np.int64)


def test_a_zeroed_input_is_gone_and_answers_as_zeros_did() -> None:
    before = run(model(), ids=IDS, types=np.zeros_like(IDS))[1]
    changed = model()
    zero_input(changed, "types", like="ids")
    assert [i.name for i in changed.graph.input] == ["ids"]
    assert np.array_equal(run(changed, ids=IDS)[1], before)
    assert np.array_equal(run(changed, ids=IDS[:1, :1])[1], before[:1, :1])


def test_identities_of_weights_go_and_answers_stay() -> None:
    changed = model()
    drop_identities(changed)
    assert "Identity" not in {node.op_type for node in changed.graph.node}
    arrays = {"ids": IDS, "types": np.ones_like(IDS)}
    assert np.array_equal(run(changed, **arrays)[1], run(model(), **arrays)[1])


def test_an_identity_that_is_an_output_stays() -> None:
    changed = model()
    changed.graph.output.append(helper.make_tensor_value_info("same", TensorProto.FLOAT, [1]))
    drop_identities(changed)
    assert run(changed, ids=IDS, types=IDS * 0)[2].tolist() == [3.0]


def test_a_renamed_input_is_read_everywhere() -> None:
    changed = model()
    rename_input(changed, "ids", "input_ids")
    arrays = {"types": np.ones_like(IDS)}
    assert np.array_equal(run(changed, input_ids=IDS, **arrays)[1], run(model(), ids=IDS, **arrays)[1])


def test_one_output_is_kept() -> None:
    changed = model()
    keep_output(changed, "logits")
    assert [o.name for o in changed.graph.output] == ["logits"]
    assert len(run(changed, ids=IDS, types=IDS * 0)) == 1
