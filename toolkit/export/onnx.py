"""A Classifier of ours to an ONNX artifact: any batch, any length, compared with PyTorch before it is written.

Every net leaves through the same exporter today; `EXPORTERS` says what decided it for each, measured
with torch 2.13 and ONNX Runtime 1.32. Opset 17 is the first with LayerNormalization, and every runtime of
the last years reads it. The file holds no host, date or path: the same classifier gives the same bytes.
Limit: a protobuf ends at 2 GB, so larger nets are refused.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.artifact import Artifact
from toolkit.classifier import Classifier
from toolkit.core import Core
from toolkit.errors import InputError, require
from toolkit.export.door import OPSET, pass_door, write_exported
from toolkit.export.shapes import encode_some, shape_batches, traced_arrays
from toolkit.export.surgery import drop_identities, shorten_table
from toolkit.judge.parity import Parity
from toolkit.lineage import Step
from toolkit.nets import describe_net
from toolkit.progress import Progress, silent
from toolkit.runners.torch import TorchRunner
from toolkit.spec import Array

# kind of net -> exporter and what decided it
EXPORTERS = {
    "transformer": ("torchscript", "writes the Gelu that ONNX Runtime fuses; dynamo's stays five operations a layer"),
    "lstm": ("torchscript", "packed sequences become the operator's own lengths; dynamo cannot trace them"),
    "textcnn": ("torchscript", "any length passes, down to one token; dynamo was not tried"),
    "mlp": ("torchscript", "the same graph from both, here in 0.1 s instead of 4"),
    "cnn": ("torchscript", "the same graph from both, batch norms folded, here in 0.2 s instead of 7"),
    "recommender": ("torchscript", "the same graph from both, here in 0.1 s instead of 3"),
}
LARGEST_BYTES = 2_000_000_000
POSITIONS = "positions.weight"


def export(
    classifier: Classifier, folder: Path, *, examples: Sequence[Any] = (), progress: Progress = silent
) -> tuple[Artifact, Parity]:
    """Write `classifier` into `folder` (already staged) as an ONNX artifact.

    `examples` are a few raw rows: they are traced, compared and become the self-test; without them the
    classifier's own sample is. Raises `ParityError` when the exported graph answers differently, `InputError`
    for no examples or a net that is too large.
    """
    described = describe_net(classifier.net)
    exporter, _ = EXPORTERS[described["kind"]]
    if 4 * classifier.parameters > LARGEST_BYTES:
        raise InputError(f"the net has {classifier.parameters} parameters; an ONNX file holds {LARGEST_BYTES // 4}")
    sample = classifier.sample if classifier.sample is not None and not len(examples) else None
    sample = sample or encode_some(classifier.encoder, examples)
    progress("export", 0, 1, f"{exporter}, opset {OPSET}")
    model = trace(classifier, traced_arrays(classifier.spec, sample))
    progress("export", 1, 1)
    with TorchRunner(classifier, threads=torch.get_num_threads()) as reference:
        batches = list(shape_batches(classifier.spec, sample))
        checked = pass_door(model, reference, batches, sample=sample, progress=progress)
    core = Core(
        name=classifier.name,
        format="onnx",
        spec=classifier.spec,
        steps=(*classifier.steps, Step("export", {"exporter": exporter, "opset": OPSET})),
        parent=classifier.parent,
        split=classifier.split,
        temperature=classifier.temperature,
        net=described,
    )
    written = write_exported(
        folder, core, classifier.encoder, model=model, checked=checked, training_rows=classifier.training_rows
    )
    return written, checked[1]


def trace(classifier: Classifier, arrays: Mapping[str, Array]) -> bytes:
    """The ONNX bytes of the net, traced on `arrays`; every named axis of the spec stays free."""
    inputs = classifier.spec.inputs
    axes = {i.name: {n: size for n, size in enumerate(i.shape) if isinstance(size, str)} for i in inputs}
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(arrays[i.name])) for i in inputs)
    buffer = io.BytesIO()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's age and about traced shapes, which parity tries
        logger.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                classifier.net.eval(),
                tensors,
                buffer,  # type: ignore[arg-type]  # this exporter writes to any file; the stub speaks of the other
                input_names=[i.name for i in inputs],
                output_names=["logits"],
                dynamic_axes={**axes, "logits": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )
        finally:
            logger.setLevel(level)
    onnx = require("onnx", extra="train")
    model = onnx.load_from_string(buffer.getvalue())
    drop_identities(model)
    if getattr(classifier.net, "kind", "") == "transformer":  # 512 positions of MiniLM are 0.8 MB, TREC ends at 48
        shorten_table(model, POSITIONS, classifier.spec.limits["length"][1])
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized
