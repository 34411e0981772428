"""What a graph in fewer bits loses on rows with labels: asked again and again while operators are put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolkit.artifact import Artifact
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.judge.assessment import users_of
from toolkit.judge.quality import judge_logits
from toolkit.predictor import Predictor
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array


def run_model(model: bytes, batches: Sequence[Mapping[str, Array]]) -> Array:
    """Logits of an ONNX `model` for every row of `batches`, float32 (rows, classes)."""
    with OnnxRunner(model) as runner:
        return np.concatenate([runner.run(batch) for batch in batches])


def answer_split(artifact: Artifact, encoder: Encoder, model: bytes, split: Split, *, alone: bool = False) -> Array:
    """Logits of `model`, a form of `artifact`, for a split; `alone` runs a row at a time, as it will be served."""
    batch_size = 1 if alone else 32
    with Predictor(encoder, OnnxRunner(model), artifact.spec, batch_size=batch_size) as predictor:
        return predictor.logits(split.examples)


def measure_drop(artifact: Artifact, reference: Array, candidate: Array, split: Split, max_drop: float) -> float:
    """How much accuracy (AUC for a recommender) is lost on the same rows, 0 to 1: positive is worse."""
    users = users_of(split) if artifact.spec.task == "recommend" else None
    quality = judge_logits(
        reference, candidate, split.labels, spec=artifact.spec, max_drop=max_drop, split_name="validation", users=users
    )
    difference = quality.difference if quality.auc_difference is None else quality.auc_difference
    return -difference.value
