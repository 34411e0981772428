"""The models whose cost is measured as work grows, and the operations and bytes that a run of them cannot do without.

A model trained on TREC ends at 48 positions. Lengths up to 512 are measured on a stand-in: MiniLM's sizes, 512
positions, weights from a seed. It answers nothing of worth; time does not depend on the values of weights. The
trained model is measured as far as it goes, so that the two can be held against each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.artifact import CORE, Artifact, load_artifact
from toolkit.classifier import Classifier
from toolkit.compress.operators import OPERATORS
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Data
from toolkit.encoders.text import TokenEncoder, train_tokenizer
from toolkit.errors import InputError
from toolkit.export.onnx import export
from toolkit.lineage import Step
from toolkit.measure.graphs import count_touched, parse_model
from toolkit.nets import build_net
from toolkit.progress import Progress, silent
from toolkit.spec import Array, Spec
from toolkit.stages import Stages

POSITIONS = 512
MINILM = {
    "width": 384, "heads": [12] * 6, "head_width": 32, "feed_forward": [1536] * 6, "positions": POSITIONS,
}  # fmt: skip
FIRST_WORD = 5  # ids below are special
STAND_IN = "MiniLM's sizes, random weights"


@dataclass(frozen=True)
class Operations:
    """Multiplications and additions of matrix products, by the width that their kernels work in."""

    int8: float
    fp32: float

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.int8 + other.int8, self.fp32 + other.fp32)

    def times(self, count: float) -> Operations:
        """The same work `count` times."""
        return Operations(count * self.int8, count * self.fp32)


@dataclass(frozen=True)
class Model:
    """An ONNX artifact of a transformer under the name it has in the result; `trained` is False for a stand-in."""

    name: str
    artifact: Artifact
    trained: bool

    @property
    def precision(self) -> str:
        """fp32 or int8."""
        return self.artifact.core.precision

    @property
    def positions(self) -> int:
        """The longest row it takes, in tokens."""
        return self.artifact.spec.limits["length"][1]

    @property
    def content(self) -> bytes:
        """The ONNX file, verified."""
        return self.artifact.read(self.artifact.core.models[0])

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of the weights that every run reads whole: not the tables of which it takes a few rows."""
        return count_touched(parse_model(self.content))

    def operations(self, length: int) -> Operations:
        """Of one row of `length` tokens: two for each multiplication of a matrix product, nothing else counted.

        Products with weights are in int8 where the model is, but for those too small to be quantized; those of two
        activations, in attention, stay in float.
        """
        sizes = _sizes(self.artifact)
        width, narrow = sizes["width"], sizes.get("embedding")
        mixed = [heads * sizes["head_width"] for heads in sizes["heads"]]
        shapes = [(narrow, width)] if narrow else []
        for m, inner in zip(mixed, sizes["feed_forward"], strict=True):
            shapes += [(width, 3 * m), (m, width), (width, inner), (inner, width)]
        work = Operations(0.0, 4.0 * length * length * sum(mixed))
        for rows, (left, right) in [*((length, shape) for shape in shapes), (1, (width, sizes["labels"]))]:
            operations = 2.0 * rows * left * right
            in_int8 = self.precision == "int8" and left * right >= OPERATORS["MatMul"].smallest
            work += Operations(operations, 0.0) if in_int8 else Operations(0.0, operations)
        return work

    def rows(self, length: int, batch: int, *, seed: int) -> dict[str, Array]:
        """Random words, no padding: int64 (batch, length)."""
        ids = np.random.default_rng(seed).integers(FIRST_WORD, _sizes(self.artifact)["vocabulary"], (batch, length))
        return {"input_ids": ids, "attention_mask": np.ones((batch, length), dtype=np.int64)}

    def to_json(self) -> dict[str, Any]:
        """What a reader must know of it."""
        return {
            "name": self.name, "trained": self.trained, "digest": self.artifact.digest, "precision": self.precision,
            "positions": self.positions, "size_bytes": self.artifact.size_bytes, "weight_bytes": self.weight_bytes,
            "sizes": _sizes(self.artifact), "steps": [step.name for step in self.artifact.core.steps],
        }  # fmt: skip


def read_models(folders: Sequence[Path]) -> list[Model]:
    """The trained models in `folders`, as far as they are there; raises `InputError` for one that is no transformer."""
    found = []
    for folder in folders:
        if (folder / CORE).is_file():
            artifact = load_artifact(folder)
            net = artifact.core.net
            if artifact.core.format != "onnx" or net is None or net["kind"] != "transformer":
                raise InputError(
                    f"{folder} is no exported transformer, whose operations are known by its sizes; give one, "
                    "as runs/demo/baseline-onnx"
                )
            found.append(Model(artifact.name, artifact, trained=True))
    return found


def make_stand_ins(folder: Path, data: Data, *, seed: int, progress: Progress = silent) -> list[Model]:
    """fp32 and static int8 of MiniLM's sizes with random weights, through the toolkit's own door; kept in `folder`."""
    stages = Stages(folder, progress)
    train = data.split("train")
    settings = [json.dumps(MINILM, sort_keys=True), data.record().to_json(), seed]

    def draw(partial: Path) -> None:
        encoder = TokenEncoder(train_tokenizer(train.examples), max_length=POSITIONS)
        sizes = {**MINILM, "vocabulary": encoder.vocabulary_size, "labels": len(data.labels)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = build_net("transformer", sizes)
            with torch.no_grad():  # a fresh head answers near zero, where no label is clear
                net.classifier.weight.normal_(std=1.0)  # type: ignore[union-attr,operator]
        spec = Spec("text", encoder.inputs, data.labels, encoder.limits)
        steps = (Step("random weights", {"seed": seed}),)
        export(
            Classifier(STAND_IN, net.eval(), spec, encoder, steps=steps), partial, examples=train.examples[:32],
            progress=progress,
        )  # fmt: skip

    plain = stages.keep("stand-in", settings, draw)

    def shrink(partial: Path) -> None:
        quantize(plain, partial, Scheme(seed=seed), calibration=train, name=f"{STAND_IN}, int8", progress=progress)

    small = stages.keep("stand-in-int8", [plain.digest, seed], shrink)
    return [Model(STAND_IN, plain, trained=False), Model(STAND_IN, small, trained=False)]


def _sizes(artifact: Artifact) -> dict[str, Any]:
    net = artifact.core.net
    if net is None:
        raise InputError(f"{artifact.folder} does not say the sizes of its net; export it with this toolkit")
    return dict(net["sizes"])
