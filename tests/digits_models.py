"""Real small models for tests: softmax regressions on scikit-learn's digits, as ONNX artifacts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from toolkit.artifact import Artifact, write_artifact
from toolkit.core import Core
from toolkit.data import Split
from toolkit.encoders.image import ImageEncoder
from toolkit.golden import Golden
from toolkit.lineage import SplitRecord, Step
from toolkit.spec import Array, Spec

TRAIN_ROWS = 1000
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ENCODER = ImageEncoder(channels=1, height=8, width=8, mean=[0.0], deviation=[1.0])


@cache
def digits() -> tuple[list[Array], Array]:
    """1,797 pictures of 8x8, uint8, and their labels; the rows from `TRAIN_ROWS` on are for testing."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return list((loaded.images * 15).astype(np.uint8)), loaded.target.astype(np.int64)


def held_out(rows: int = 797) -> Split:
    """The first `rows` rows that no model here was trained on."""
    pictures, labels = digits()
    return Split(pictures[TRAIN_ROWS : TRAIN_ROWS + rows], labels[TRAIN_ROWS : TRAIN_ROWS + rows])


@cache
def weights(training_rows: int) -> tuple[Array, Array]:
    """Coefficients (64, 10) and intercepts of a softmax regression fitted on the first `training_rows`."""
    from sklearn.linear_model import LogisticRegression

    pictures, labels = digits()
    features = ENCODER.encode(pictures[:training_rows])["pixels"].reshape(training_rows, 64)
    fitted = LogisticRegression(C=10, max_iter=200).fit(features, labels[:training_rows])
    return fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)


def make_model(training_rows: int, order: list[int]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    coefficients, intercepts = weights(training_rows)
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "coefficients"], ["product"]),
        helper.make_node("Add", ["product", "intercepts"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(np.ascontiguousarray(coefficients[:, order]), "coefficients"),
            numpy_helper.from_array(intercepts[order], "intercepts"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def make_artifact(
    folder: Path, *, training_rows: int = TRAIN_ROWS, name: str = "digits", order: list[int] | None = None
) -> Artifact:
    """An fp32 artifact with its golden rows; `order` permutes its labels."""
    order = order or list(range(10))
    model = make_model(training_rows, order)
    record = SplitRecord("digits", "0" * 64, 0, {"test": "1" * 64})
    core = Core(
        name=name,
        format="onnx",
        spec=Spec("image", ENCODER.inputs, tuple(LABELS[i] for i in order)),
        steps=(Step("train", {"rows": training_rows}), Step("export", {"opset": 17})),
        split=record,
    )
    return write_artifact(folder, core, ENCODER, models={"model.onnx": model}, golden=_golden(model))


def make_int8_artifact(folder: Path, *, training_rows: int = TRAIN_ROWS) -> Artifact:
    """The same model with dynamic INT8 from ONNX Runtime's own quantizer."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True, exist_ok=True)
    source, target = folder.parent / f"{folder.name}.fp32.onnx", folder.parent / f"{folder.name}.int8.onnx"
    source.write_bytes(make_model(training_rows, list(range(10))))
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    model = target.read_bytes()
    core = Core(
        name="digits-int8",
        format="onnx",
        spec=Spec("image", ENCODER.inputs, LABELS),
        steps=(Step("train", {"rows": training_rows}), Step("quantize", {"mode": "dynamic"})),
        precision="int8",
    )
    return write_artifact(folder, core, ENCODER, models={"model.onnx": model}, golden=_golden(model))


def _golden(model: bytes) -> Golden:
    from toolkit.runners.onnx import OnnxRunner

    pictures, _ = digits()
    arrays = ENCODER.encode(pictures[:4])
    with OnnxRunner(model) as runner:
        singles = [runner.run({"pixels": arrays["pixels"][row : row + 1]}) for row in range(4)]
    return Golden(arrays, np.concatenate(singles))
