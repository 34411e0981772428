"""Real small text models: a mean of n-gram embeddings with weights from a seed, as an ONNX artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.artifact import Artifact, write_artifact
from toolkit.core import Core
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.golden import Golden
from toolkit.lineage import Step
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Spec

LABELS = ("ABBR", "DESC", "HUM", "NUM")
WORDS = ("who", "what", "river", "atom", "city", "wrote", "miles", "letter", "king", "year", "moon", "name")


def text_artifact(
    folder: Path, *, noise: float, name: str | None = None, steps: Sequence[Step] = (Step("export", {}),)
) -> Artifact:
    """Mean of n-gram embeddings with weights from a seed; `noise` moves them, and so some answers."""
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(0).normal(size=(513, 4))
    table += noise * np.random.default_rng(1).normal(size=table.shape)
    encoder = NgramEncoder(buckets=512, max_length=256)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["rows", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
    ]
    constants = {"table": table.astype(np.float32), "last": np.array([-1]), "middle": np.array([1])}
    inputs = [helper.make_tensor_value_info(i.name, TensorProto.INT64, list(i.shape)) for i in encoder.inputs]
    graph = helper.make_graph(
        nodes, "sum", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    arrays = encoder.encode(["who wrote it", "what is an atom"])
    with OnnxRunner(model) as runner:
        golden = Golden(arrays, runner.run(arrays))
    core = Core(name or folder.name, "onnx", Spec("text", encoder.inputs, LABELS, encoder.limits), steps=tuple(steps))
    return write_artifact(folder, core, encoder, models={"model.onnx": model}, golden=golden)
