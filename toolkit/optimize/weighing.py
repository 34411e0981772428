"""What an artifact is worth: its score on validation rows, and what a row of it costs in process.

Answers are kept beside the artifacts of trials, so that every pair of them can be judged as a cascade without
asking either again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import Artifact
from toolkit.data import Split
from toolkit.judge.assessment import positive_scores, users_of
from toolkit.judge.ranking import auc, compare_auc_at
from toolkit.measure.latency import measure_latency
from toolkit.optimize.devices import open_on
from toolkit.optimize.trial import Cost, Made
from toolkit.predictor import Predictor
from toolkit.spec import Array, Spec
from toolkit.staging import write_atomically

SECONDS = 1.0
# what a p99 needs, where a row is quick enough to have so many in a few seconds
P99_SAMPLES, P99_BELOW_MS = 1_100, 8.0
# the share of a normal distribution that lies within one standard error
ONE_ERROR = 0.6827


def weigh(
    form: str, artifact: Artifact, validation: Split, folder: Path, *, reference: Array, device: str = "cpu"
) -> Made:
    """Judge an artifact under the search's `folder` on `validation` and time it; its answers are kept beside it.

    `reference` is what the model that came answers, logits after the temperature.
    """
    with open_on(artifact, device) as predictor:
        answers = answer(predictor, validation)
        cost = time_rows(predictor, validation.examples, artifact.size_bytes)
    np.save(answers_of(artifact.folder), answers, allow_pickle=False)
    score = score_of(answers, validation.labels, artifact.spec)
    error = error_of(reference, answers, validation, artifact.spec)
    return Made(form, str(artifact.folder.relative_to(folder)), artifact.digest, score, cost, error)


def weigh_reference(artifact: Artifact, validation: Split, folder: Path, *, device: str = "cpu") -> tuple[Made, Array]:
    """The model as it came, with its validation answers; kept, so that a resumed search compares with the same."""
    path = folder / "reference" / "reference.json"
    if path.is_file():
        kept = Made.from_json(json.loads(path.read_bytes()))
        if kept.digest == artifact.digest:
            return kept, np.load(path.with_name("validation.npy"), allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_on(artifact, device) as predictor:
        answers = answer(predictor, validation)
        cost = time_rows(predictor, validation.examples, artifact.size_bytes)
    np.save(path.with_name("validation.npy"), answers, allow_pickle=False)
    made = Made("reference", "", artifact.digest, score_of(answers, validation.labels, artifact.spec), cost)
    write_atomically(path, json.dumps(made.to_json()).encode())
    return made, answers


def measure(artifact: Artifact, rows: Sequence[Any], *, device: str = "cpu") -> Cost:
    """Time single `rows` for about a second, longer where a p99 needs it."""
    with open_on(artifact, device) as predictor:
        return time_rows(predictor, rows, artifact.size_bytes)


def time_rows(predictor: Predictor, rows: Sequence[Any], size_bytes: int) -> Cost:
    """`measure` for a predictor that is open."""
    latency = measure_latency(predictor, rows, seconds=SECONDS, warmup=0.1)
    if latency.p99_ms is None and latency.mean_ms < P99_BELOW_MS:
        latency = measure_latency(predictor, rows, seconds=P99_SAMPLES * latency.mean_ms / 1e3, warmup=0.1)
    return Cost(latency.p50_ms or latency.mean_ms, latency.mean_ms, latency.p99_ms, size_bytes)


def answer(predictor: Predictor, split: Split) -> Array:
    """Logits after the temperature, float32 (rows, classes)."""
    return predictor.logits(split.examples) / predictor.temperature


def score_of(logits: Array, labels: Array, spec: Spec) -> float:
    """Accuracy; for a recommender the area under the ROC curve."""
    if spec.task == "recommend":
        return auc(positive_scores(logits, spec), labels == 1)
    return float((logits.argmax(axis=1) == labels).mean())


def error_of(reference: Array, candidate: Array, validation: Split, spec: Spec) -> float:
    """Standard error of the paired difference of two scores on `validation`; both are logits, float (rows, classes).

    Of a recommender's AUC it is half the middle 68 % of the judge's paired bootstrap, which draws users where rows
    have them: 0.4 s for 20,000 rows. Equal scores have an error of exactly 0.
    """
    labels = validation.labels
    if spec.task == "recommend":
        before, after = positive_scores(reference, spec), positive_scores(candidate, spec)
        (found,) = compare_auc_at(before, after, labels == 1, levels=(ONE_ERROR,), users=users_of(validation))
        return (found.high - found.low) / 2
    return paired_error(reference.argmax(axis=1) == labels, candidate.argmax(axis=1) == labels)


def paired_error(reference: Array, candidate: Array) -> float:
    """Standard error of the difference of two accuracies, from bool (rows,), which say where each is right."""
    difference = candidate.astype(np.float64) - reference
    return float(np.sqrt(difference.var() / len(difference)))


def answers_of(folder: Path) -> Path:
    """Where the validation answers of the artifact in `folder` lie: beside it, never in it."""
    return folder.with_name(f"{folder.name}.validation.npy")
