"""Raw examples in, labels and scores out: encoder, runner, labels and temperature put together.

What serving calls, what quality is judged by, what latency is measured on: one object, so that
what was measured is what is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from toolkit.artifact import GOLDEN, Artifact, load_artifact
from toolkit.encoders import Encoder
from toolkit.errors import ArtifactError
from toolkit.golden import Golden
from toolkit.runners import Runner, open_runner
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Spec, softmax

FLOAT_TOLERANCE = 1e-4
BATCH_SIZE = 32


@dataclass(frozen=True)
class Prediction:
    """One answer: the label and its probability after the temperature."""

    label: str
    score: float


class Predictor:
    """Call it with raw examples; see `load` for the usual way to make one.

    `batch_size` is how many rows share a run. An artifact whose INT8 scales come from the whole batch
    is run one row at a time, as it will be served: its neighbours would move its answer.
    """

    def __init__(
        self,
        encoder: Encoder,
        runner: Runner,
        spec: Spec,
        *,
        temperature: float = 1.0,
        batch_size: int = BATCH_SIZE,
        artifact: Artifact | None = None,
    ) -> None:
        self.encoder, self.runner, self.spec = encoder, runner, spec
        self.temperature, self.batch_size, self.artifact = temperature, batch_size, artifact

    @classmethod
    def load(
        cls, folder: Path | str | Artifact, *, threads: int = 1, provider: str = "cpu", batch_size: int | None = None
    ) -> Predictor:
        """Verify, open, self-test and warm an artifact; a `Cascade` where it is one.

        `batch_size` in place of the one that the artifact's scales call for.

        Raises `ArtifactError` when any of that fails: a predictor that exists can answer.
        """
        artifact = folder if isinstance(folder, Artifact) else load_artifact(folder)
        if artifact.members:
            from toolkit.cascade import Cascade  # it is made of predictors, so it imports this module

            return Cascade.open(artifact, threads=threads, provider=provider, batch_size=batch_size)
        artifact.verify()
        golden = (
            artifact.golden() if GOLDEN in artifact.files else None
        )  # refused, where it is, before a session exists
        predictor = cls(
            artifact.encoder(),
            open_runner(artifact, threads=threads, provider=provider),
            artifact.spec,
            temperature=artifact.core.temperature,
            batch_size=batch_size or (1 if artifact.depends_on_batch else BATCH_SIZE),
            artifact=artifact,
        )
        if golden is not None:
            self_test(predictor.runner, golden, exact=artifact.core.precision == "fp32")
        return predictor

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """The predictors that run models: this one, or the members of a cascade."""
        return (self,)

    def __call__(self, examples: Sequence[Any]) -> list[Prediction]:
        """The most probable label of each example."""
        probabilities = self.probabilities(examples)
        best = probabilities.argmax(axis=1)
        return [
            Prediction(self.spec.labels[label], float(row[label]))
            for label, row in zip(best.tolist(), probabilities, strict=True)
        ]

    def probabilities(self, examples: Sequence[Any], cancel: Cancel | None = None) -> Array:
        """Float64 (examples, classes), after the temperature."""
        return softmax(self.logits(examples, cancel) / self.temperature)

    def logits(self, examples: Sequence[Any], cancel: Cancel | None = None) -> Array:
        """Float32 (examples, classes). Examples of like size share a batch; the order is the caller's.

        Raises `Cancelled` once `cancel` was called from another thread.
        """
        if not len(examples):
            return np.zeros((0, len(self.spec.labels)), dtype=np.float32)
        sizes = [self.encoder.size(example) for example in examples]
        order = sorted(range(len(examples)), key=sizes.__getitem__)
        result = np.empty((len(examples), len(self.spec.labels)), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            result[rows] = self.runner.run(self.encoder.encode([examples[row] for row in rows]), cancel)
        return result

    def close(self) -> None:
        """Free the model."""
        self.runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def self_test(runner: Runner, golden: Golden, *, exact: bool) -> float:
    """Run the golden rows one at a time; return the largest relative difference of a logit.

    `exact` models must agree within 1e-4; others (INT8 kernels differ between processors) must give
    the same labels on these rows, which were chosen with a wide margin. Raises `ArtifactError`.
    """
    rows = len(golden.logits)
    singles = [{name: array[row : row + 1] for name, array in golden.arrays.items()} for row in range(rows)]
    found = np.concatenate([runner.run(single) for single in singles])
    difference = relative_difference(golden.logits, found)
    if exact and not difference <= FLOAT_TOLERANCE:
        raise ArtifactError(
            f"the self-test failed: logits differ by {difference:.1e} relative, at most {FLOAT_TOLERANCE} is "
            "allowed; the file or the runtime is not the one that was exported"
        )
    if not np.isfinite(found).all() or (found.argmax(1) != golden.logits.argmax(1)).any():
        raise ArtifactError("the self-test failed: a golden row got another label on this machine")
    return difference


def relative_difference(expected: Array, found: Array) -> float:
    """Largest |found - expected| over the largest |expected| of its row (at least 1); NaN if any is."""
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1.0)
    return float((np.abs(found - expected) / scale).max()) if len(expected) else 0.0
