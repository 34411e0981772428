"""Make scores mean again what they say: one number that softens or sharpens all answers, fitted on validation rows.

Compression moves logits, mostly towards being too sure or too little; which label comes first does not change, only
what its score promises. The temperature under which the true labels are most likely is the minimum of a loss that
falls and then rises, found by golden section on its logarithm. The artifact's files stay the same bytes.
Limit: one number mends how sure a model is on the whole, not of one class; calibration error on a few hundred rows is
itself uncertain by a point or two. Rows that were trained on are refused: a net is surer of them than of any other.

Source: Guo et al. 2017 (arXiv:1706.04599); Kiefer 1953 for golden-section search.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import GOLDEN, TRAINING_ROWS, Artifact, write_artifact
from toolkit.data import Split, digest_of_split
from toolkit.errors import DataError, InputError
from toolkit.golden import rows_to_bytes
from toolkit.judge.statistics import calibration_error
from toolkit.lineage import Step
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.spec import Array, softmax

LOWEST, HIGHEST = 0.05, 20.0
STEPS = 60  # each leaves 0.618 of the interval, so the end is far below what a float32 logit resolves
GAIN = 1e-6  # of a negative log-likelihood: less is no better
GREW = 0.005  # of a calibration error: half a point
REFUSED = {
    "train": "these are the training rows of this model, of which it is surer than of any other",
    "test": "these are the test rows of this model, and a test judges what nothing has seen",
}


def refit_temperature(
    artifact: Artifact, folder: Path, *, validation: Split, name: str | None = None, progress: Progress = silent
) -> Artifact:
    """Write `artifact` into `folder` (already staged) with the temperature that suits `validation` best.

    Where none is better, or the best lies outside 0.05 to 20 (every row is right, or answers say nothing), the
    temperature stays and the step says so. Raises `DataError` for no rows, and for others than the validation rows
    that `artifact` was made with, where it knows them; `InputError` for a cascade.
    """
    if artifact.members:
        raise InputError(f"{artifact.folder} is a cascade; each member has its own temperature: refit those, then join")
    split = _check_rows(artifact, validation)
    progress("temperature", 0, 1, f"logits of {len(validation):,} rows")
    with Predictor.load(artifact) as predictor:
        logits = predictor.logits(validation.examples)
    before = artifact.core.temperature
    fitted = fit_temperature(logits, validation.labels)
    losses = {t: negative_log_likelihood(logits / t, validation.labels) for t in (before, fitted or before)}
    improved = fitted is not None and losses[fitted] < losses[before] - GAIN
    after = fitted if fitted is not None and improved else before
    errors = [calibration_error(softmax(logits / t), validation.labels) for t in (before, after)]
    settings: dict[str, Any] = {
        "split": split,
        "rows": len(validation),
        "rows_digest": digest_of_split(validation),
        "changed": improved,
        "temperature_before": before,
        "temperature": after,
        "loss_before": losses[before],
        "loss": losses[after],
        "calibration_error_before": errors[0],
        "calibration_error": errors[1],
    }
    core = replace(
        artifact.core,
        name=name or artifact.name,
        steps=(*artifact.core.steps, Step("temperature", settings)),
        parent=artifact.digest,
        temperature=after,
    )
    learned = artifact.training_rows()
    written = write_artifact(
        folder,
        core,
        artifact.encoder(),
        models={path: artifact.read(path) for path in core.models},
        golden=artifact.golden() if GOLDEN in artifact.files else None,
        evidence={} if learned is None else {TRAINING_ROWS: rows_to_bytes(learned)},
    )
    progress("temperature", 1, 1, f"{before:.3g} to {after:.3g}, calibration error {errors[0]:.3f} to {errors[1]:.3f}")
    return written


def fit_temperature(logits: Array, labels: Array) -> float | None:
    """The temperature under which `labels` int (rows,) are most likely, given `logits` float (rows, classes).

    None where the likelihood is still rising at 0.05 or 20: no temperature between them is the best.
    """
    ratio = (math.sqrt(5) - 1) / 2
    ends = low, high = math.log(LOWEST), math.log(HIGHEST)

    def loss(logarithm: float) -> float:
        return negative_log_likelihood(logits / math.exp(logarithm), labels)

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    for _ in range(STEPS):
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = loss(right)
    found = (low + high) / 2
    return None if min(abs(found - end) for end in ends) < 1e-6 else math.exp(found)


def negative_log_likelihood(logits: Array, labels: Array) -> float:
    """Mean of -log softmax(`logits`)[label], in nats; float (rows, classes) and int (rows,)."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return float((np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(labels)), labels]).mean())


def calibration_grew(reference: Array, candidate: Array, labels: Array) -> bool:
    """True when the candidate's calibration error is more than half a point above the reference's.

    Both are logits after their temperature, float (rows, classes), on rows whose `labels` are int (rows,).
    """
    before, after = (calibration_error(softmax(logits), labels) for logits in (reference, candidate))
    return after > before + GREW


def _check_rows(artifact: Artifact, validation: Split) -> str:
    """What these rows are: "validation", or "given" where the artifact knows none; `DataError` for any other."""
    if not len(validation):
        raise DataError("there are no validation rows to fit a temperature on; give data that has some")
    if artifact.core.split is None:
        return "given"
    known = artifact.core.split.digests
    found = next((name for name, digest in known.items() if digest == digest_of_split(validation)), None)
    if found != "validation":
        what = REFUSED.get(found or "", "these rows are not those that this model was validated on")
        raise DataError(f"{what}; give its own data, whose validation split is used")
    return found
