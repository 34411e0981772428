"""A Hugging Face classifier folder of somebody else, exported as it is through optimum.

Taken: sequence classification with a fast tokenizer, and image classification whose preprocessor only
resizes and normalizes, since serving has no transformers. `token_type_ids` are computed in the graph as
the zeros that they are for one text, so that the contract stays `input_ids` and `attention_mask`. Anything
else is refused by its name. The result cannot be pruned or trained here; it can be quantized, judged,
served, and teach.

Limits: weights in safetensors only, never a pickle; no remote code; one text a row, not pairs.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.artifact import Artifact
from toolkit.core import Core
from toolkit.encoders import Encoder
from toolkit.errors import ArtifactError, require
from toolkit.export.door import OPSET, pass_door, write_exported
from toolkit.export.preprocessing import IMAGE, TEXT, image_encoder, sample_rows, token_encoder
from toolkit.export.shapes import encode_some, shape_batches
from toolkit.export.surgery import keep_output, rename_input, zero_input
from toolkit.judge.parity import Parity
from toolkit.lineage import Step, digest_of_file
from toolkit.progress import Progress, silent
from toolkit.spec import Array, Arrays, Spec

# how the name of an architecture ends -> task of ours, task of optimum's, class that loads it
ARCHITECTURES = {
    "ForSequenceClassification": (TEXT, "text-classification", "AutoModelForSequenceClassification"),
    "ForImageClassification": (IMAGE, "image-classification", "AutoModelForImageClassification"),
}


def export_huggingface(
    path: Path,
    folder: Path,
    *,
    name: str | None = None,
    examples: Sequence[Any] = (),
    progress: Progress = silent,
) -> tuple[Artifact, Parity]:
    """Export the classifier in `path` into `folder` (already staged), compared with transformers.

    `examples` are raw rows to compare with; without them a few texts of several scripts, or patterns, are
    taken. Raises `ArtifactError` for what is not taken, `ParityError` when the answers differ.
    """
    source = _read_source(Path(path))
    encoder: Encoder = token_encoder(path) if source.task == TEXT else image_encoder(path)
    spec = Spec(source.task, encoder.inputs, source.labels, encoder.limits)
    sample = encode_some(encoder, examples or sample_rows(source.task))
    progress("export", 0, 1, f"optimum, opset {OPSET}")
    with _quiet():
        model = _export(source)
        progress("export", 1, 1)
        reference = _Transformers(source, spec)
        checked = pass_door(model, reference, list(shape_batches(spec, sample)), sample=sample, progress=progress)
    settings = {
        "exporter": "optimum",
        "opset": OPSET,
        "architecture": source.architecture,
        "weights": {file.name: digest_of_file(file) for file in source.weights},
    }
    core = Core(name or Path(path).resolve().name, "onnx", spec, steps=(Step("export", settings),))
    return write_exported(folder, core, encoder, model=model, checked=checked), checked[1]


@dataclass(frozen=True)
class _Source:
    """What a folder says of itself, once it is known to be one that is taken."""

    path: Path
    architecture: str
    task: str
    optimum_task: str
    loader: str
    labels: tuple[str, ...]
    weights: tuple[Path, ...]


def _read_source(path: Path) -> _Source:
    try:
        config = dict(json.loads((path / "config.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        raise ArtifactError(f"{path} has no readable config.json; give a Hugging Face classifier folder") from None
    architecture = str((config.get("architectures") or ["no architecture"])[0])
    ending = next((known for known in ARCHITECTURES if architecture.endswith(known)), None)
    if ending is None:
        raise ArtifactError(f"{path} is a {architecture}; allowed: *{', *'.join(ARCHITECTURES)}")
    if config.get("problem_type") in ("regression", "multi_label_classification"):
        raise ArtifactError(f"{path} is made for {config['problem_type']}; allowed: one label of two or more a row")
    named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # what transformers assumes
    labels = tuple(str(named[key]) for key in sorted(named, key=int))
    weights = tuple(sorted(path.glob("model*.safetensors")))
    if not weights:
        raise ArtifactError(f"{path} has no model.safetensors; pickled weights are not taken, save it as safetensors")
    return _Source(path, architecture, *ARCHITECTURES[ending], labels, weights)


def _export(source: _Source) -> bytes:
    """The ONNX bytes from optimum, with the inputs and the output of our contract."""
    onnx = require("onnx", extra="train")
    main_export = require("optimum.exporters.onnx", extra="train").main_export
    with tempfile.TemporaryDirectory() as temporary:
        try:
            main_export(
                str(source.path),
                temporary,
                task=source.optimum_task,
                opset=OPSET,
                library_name="transformers",
                local_files_only=True,
                do_validation=False,  # the door compares, at more shapes
            )
            model = onnx.load(str(Path(temporary) / "model.onnx"))
        except Exception as error:  # optimum, transformers and torch raise a dozen kinds
            reason = (str(error) or repr(error)).splitlines()[0]
            raise ArtifactError(f"optimum cannot export {source.architecture}: {reason}") from None
    inputs = {declared.name for declared in model.graph.input}
    allowed = {"input_ids", "attention_mask"} if source.task == TEXT else {"pixel_values"}
    if "token_type_ids" in inputs and source.task == TEXT:
        zero_input(model, "token_type_ids", like="input_ids")
        inputs.discard("token_type_ids")
    if inputs != allowed:
        raise ArtifactError(f"{source.architecture} takes {sorted(inputs)}; allowed: {sorted(allowed)}")
    if source.task == IMAGE:
        rename_input(model, "pixel_values", "pixels")
    keep_output(model, "logits")
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


class _Transformers:
    """The model as transformers runs it: what the export must agree with."""

    def __init__(self, source: _Source, spec: Spec) -> None:
        loader = getattr(require("transformers", extra="train"), source.loader)
        model = loader.from_pretrained(source.path, local_files_only=True, use_safetensors=True)
        self._model = model.float().eval()
        self._names = {"pixels": "pixel_values"} if spec.task == IMAGE else {}

    def run(self, arrays: Arrays) -> Array:
        tensors = {
            self._names.get(name, name): torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }
        with torch.inference_mode():
            logits: Array = self._model(**tensors).logits.float().numpy()
        return logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what optimum and the exporter say on their way; errors still come out as exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
