"""A run is ended from another thread, soon, and the session goes on answering."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.runners.cancel import Cancel, Cancelled
from toolkit.runners.onnx import OnnxRunner

WIDTH, LAYERS = 256, 400


@pytest.fixture(scope="module")
def model() -> bytes:
    """Four hundred products one after another: long enough to be ended in the middle."""
    weight = np.eye(WIDTH, dtype=np.float32)
    names = ["x", *[f"y{layer}" for layer in range(LAYERS - 1)], "logits"]
    nodes = [helper.make_node("MatMul", [names[i], "w"], [names[i + 1]]) for i in range(LAYERS)]
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def test_a_run_under_way_ends_soon_and_the_next_one_runs(model: bytes) -> None:
    x = {"x": np.ones((512, WIDTH), dtype=np.float32)}
    with OnnxRunner(model) as runner:
        started = time.perf_counter()
        whole = runner.run(x, Cancel())
        seconds = time.perf_counter() - started
        cancel = Cancel()
        timer = threading.Timer(seconds / 10, cancel.cancel)
        timer.start()
        started = time.perf_counter()
        with pytest.raises(Cancelled):
            runner.run(x, cancel)
        assert time.perf_counter() - started < seconds * 0.8
        assert np.array_equal(runner.run(x), whole)


def test_what_was_cancelled_before_never_begins(model: bytes) -> None:
    cancel = Cancel()
    cancel.cancel()
    with OnnxRunner(model) as runner, pytest.raises(Cancelled):
        runner.run({"x": np.ones((1, WIDTH), dtype=np.float32)}, cancel)


def test_an_error_of_the_run_stays_what_it_is(model: bytes) -> None:
    with OnnxRunner(model) as runner, pytest.raises(Exception, match=r"(?i)invalid|dimension"):
        runner.run({"x": np.ones((1, WIDTH + 1), dtype=np.float32)}, Cancel())
