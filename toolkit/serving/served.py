"""One model as it is served: friendly inputs in, named answers out, the fault of each bad row.

The work is done by the very `Predictor` that was judged and measured. Encoders speak of positions in
a batch; when one refuses, the rows are tried one by one, so that every fault gets its own pointer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.predictor import Predictor
from toolkit.runners.cancel import Cancel
from toolkit.serving.batching import Batching
from toolkit.serving.problems import MAX_FAULTS, Fault, Problem, fault, invalid
from toolkit.serving.settings import Settings
from toolkit.spec import Array, Arrays, softmax


class Served:
    """A warmed predictor with a name, a version and the limits it is served under."""

    def __init__(self, predictor: Predictor, artifact: Artifact, settings: Settings, batching: Batching) -> None:
        self.predictor, self.artifact, self.settings, self.batching = predictor, artifact, settings, batching
        self.spec = artifact.spec
        self.pace = 1.0  # a running mean of what runs take over what the curve says
        self.deployment: Callable[[], dict[str, Any]] | None = None  # what it replaced and what shadows it
        self.identity = {"name": artifact.name, "version": self.version, "digest": artifact.digest}

    @property
    def version(self) -> str:
        """The first twelve digits of the digest: other bytes, another version."""
        return self.artifact.digest[:12]

    def answer(self, inputs: Any, *, top: int | None = None) -> dict[str, Any]:
        """Predictions beside what computed them, the body of a 200; `inputs` as they stand in a request."""
        return self.reply(self.logits(self.examples(inputs)), top=top)

    def reply(self, logits: Array, *, top: int | None = None) -> dict[str, Any]:
        """Label and score of each row, with the `top` most probable labels beside it if asked.

        For the task recommend: the score of each record, in order; with `top`, the best of them only,
        ranked, each with the `index` it had. Raises `Problem` 500 when a logit is not a number.
        """
        scores = self.probabilities(logits)
        if self.spec.task == "recommend":
            predictions = _ranked(scores[:, -1], top)
        else:
            predictions = _labelled(scores, self.spec.labels, top)
        return {"model": {**self.identity, **self.device()}, "predictions": predictions}

    def device(self) -> dict[str, str]:
        """Where a GPU may answer, what does: it is TensorRT, CUDA or what was allowed, and may change while serving."""
        if self.settings.provider == "cpu":
            return {}
        return {"provider": str(self.predictor.runner.facts()["provider"])}

    def examples(self, inputs: Any) -> list[Any]:
        """Raw examples for the encoder; raises `Problem` 422."""
        if not isinstance(inputs, list):
            raise fault("/inputs", "not_a_list", "a list of inputs is expected")
        self.check_rows(len(inputs), "/inputs")
        if self.spec.task != "image":
            return inputs
        decoded = [_picture(value) for value in inputs]
        bad = [position for position, content in enumerate(decoded) if content is None]
        if bad:
            raise invalid([Fault(f"/inputs/{i}", "not_base64", "a picture in base64 is expected") for i in bad])
        return decoded

    def check_rows(self, rows: int, pointer: str) -> None:
        """Raise `Problem` 422 unless so many rows are taken at once."""
        if rows == 0:
            raise fault(pointer, "empty", "at least one row is expected")
        if rows > self.settings.max_rows:
            raise fault(pointer, "too_many_rows", f"at most {self.settings.max_rows} rows are taken at once")

    def logits(self, examples: Sequence[Any], cancel: Cancel | None = None) -> Array:
        """Float32 (examples, labels); raises `Problem` 422 for examples this model cannot take, `Cancelled`."""
        try:
            return self.predictor.logits(examples, cancel)
        except InputError:
            faults = self._faults(examples)
            if not faults:
                raise
            raise invalid(faults) from None

    def scores(self, examples: Sequence[Any]) -> Array:
        """Probabilities, float64 (examples, labels); raises `Problem` as `logits` and `probabilities` do."""
        return self.probabilities(self.logits(examples))

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        """Logits of typed arrays that `Spec.check` has passed, in runs of the predictor's batch size."""
        rows = self.spec.check(arrays)
        step = self.predictor.batch_size
        parts = [
            self.predictor.runner.run({name: array[start : start + step] for name, array in arrays.items()}, cancel)
            for start in range(0, rows, step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def probabilities(self, logits: Array) -> Array:
        """Softmax after the temperature; raises `Problem` 500 unless every logit is finite."""
        if not np.isfinite(logits).all():
            raise Problem(500, "non_finite_output", "the model computed something that is not a number")
        return softmax(logits / self.predictor.temperature)

    def _faults(self, examples: Sequence[Any]) -> list[Fault]:
        """What is wrong with each example, tried alone; at most as many as a problem names."""
        faults: list[Fault] = []
        for position, example in enumerate(examples):
            try:
                self.predictor.encoder.encode([example])
            except InputError as error:
                # alone, every example is "input 0": the pointer says which it really was
                words = str(error).removeprefix("input 0").lstrip(": ")
                faults.append(Fault(f"/inputs/{position}", "unusable_input", words))
                if len(faults) == MAX_FAULTS:
                    break
        return faults


def _picture(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None


def _labelled(scores: Array, labels: Sequence[str], top: int | None) -> list[dict[str, Any]]:
    best = scores.argmax(axis=1).tolist()
    rows = [{"label": labels[label], "score": float(row[label])} for label, row in zip(best, scores, strict=True)]
    if top is not None:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top].tolist()
        for answer, columns, row in zip(rows, order, scores, strict=True):
            answer["top"] = [{"label": labels[column], "score": float(row[column])} for column in columns]
    return rows


def _ranked(scores: Array, top: int | None) -> list[dict[str, Any]]:
    """The last label of a recommender is the one that recommends."""
    order = range(len(scores)) if top is None else np.argsort(-scores, kind="stable")[:top].tolist()
    return [{"index": index, "score": float(scores[index])} for index in order]
