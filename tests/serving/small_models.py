"""Small real models: ONNX graphs with random weights from a seed, a real encoder, golden rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from PIL import Image

from toolkit.artifact import Artifact, write_artifact
from toolkit.core import Core
from toolkit.encoders import Encoder
from toolkit.encoders.image import ImageEncoder
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.encoders.record import Field, RecordEncoder
from toolkit.encoders.text import TokenEncoder
from toolkit.golden import Golden
from toolkit.lineage import Step
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Spec

TEXTS = ["Who wrote Hamlet ?", "How many miles is it to the moon ?", "Where is Lisbon ?", "What is an atom ?"]
TEXT_LABELS = ("ABBR", "DESC", "HUM", "NUM")
TextEncoder = NgramEncoder | TokenEncoder
TYPES = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}


def text_artifact(
    folder: Path, *, name: str = "questions", weight: float = 1.0, encoder: TextEncoder | None = None
) -> Artifact:
    """Mean of the embeddings of n-grams, or of what `encoder` makes of a text: logits (batch, 4)."""
    encoder = encoder or NgramEncoder(buckets=512, max_length=256)
    table = np.random.default_rng(0).normal(size=(encoder.vocabulary_size, len(TEXT_LABELS))) * weight
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["rows", "wide_mask"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["wide_mask", "middle"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["logits"]),
    ]
    constants = {"table": table.astype(np.float32), "last": np.array([-1]), "middle": np.array([1])}
    return _write(folder, name, "text", encoder, TEXT_LABELS, nodes, constants, TEXTS)


def image_artifact(folder: Path) -> Artifact:
    """A linear layer over 8x8 grey pixels: logits (batch, 3)."""
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    constants = {"weights": np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)}
    encoder = ImageEncoder(channels=1, height=8, width=8, mean=[0.5], deviation=[0.5])
    return _write(folder, "shapes", "image", encoder, ("a", "b", "c"), nodes, constants, [picture(0), picture(1)])


def recommender_artifact(folder: Path) -> Artifact:
    """User and item weights and an age: logits (batch, 2)."""
    encoder = RecordEncoder(
        [Field("user", "category", "user", ("1", "2")), Field("item", "category", "item", ("10", "20", "30")),
         Field("age", "number", "user", mean=30.0, deviation=10.0)]
    )  # fmt: skip
    random = np.random.default_rng(2)
    nodes = [
        helper.make_node("Gather", ["users", "user"], ["of_user"]),
        helper.make_node("Gather", ["items", "item"], ["of_item"]),
        helper.make_node("Unsqueeze", ["age", "last"], ["ages"]),
        helper.make_node("MatMul", ["ages", "slope"], ["of_age"]),
        helper.make_node("Sum", ["of_user", "of_item", "of_age"], ["logits"]),
    ]
    constants = {
        "users": random.normal(size=(3, 2)).astype(np.float32),
        "items": random.normal(size=(4, 2)).astype(np.float32),
        "slope": random.normal(size=(1, 2)).astype(np.float32),
        "last": np.array([-1]),
    }
    rows = [{"user": "1", "item": "10", "age": 20}, {"user": "2", "item": "30"}]
    return _write(folder, "films", "recommend", encoder, ("no", "yes"), nodes, constants, rows)


def picture(seed: int, *, size: int = 8, kind: str = "PNG") -> bytes:
    """An encoded grey picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size, size), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def _write(
    folder: Path,
    name: str,
    task: str,
    encoder: Encoder,
    labels: tuple[str, ...],
    nodes: Sequence[Any],
    constants: dict[str, Array],
    examples: Sequence[Any],
) -> Artifact:
    spec = Spec(task, encoder.inputs, labels, encoder.limits)
    inputs = [helper.make_tensor_value_info(i.name, TYPES[i.dtype], list(i.shape)) for i in spec.inputs]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(labels)])
    initializers = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    graph = helper.make_graph(list(nodes), name, inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    content = model.SerializeToString()
    arrays = encoder.encode(examples)
    with OnnxRunner(content) as runner:
        golden = Golden(arrays, runner.run(arrays))
    core = Core(name, "onnx", spec, steps=(Step("export", {"opset": 17}),))
    return write_artifact(folder, core, encoder, models={"model.onnx": content}, golden=golden)
