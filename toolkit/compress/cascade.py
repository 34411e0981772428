"""Two artifacts as one: the small model answers, and the rows it is unsure of go to the large one.

Most rows are easy, so the mean time is near the small model's and the accuracy near the large one's; p99 is the
time of both in a row. The threshold is chosen on validation rows (`thresholds`): the smallest share deferred that
keeps the accuracy within `max_drop` of the large model's, or a share that is given. Members are copied whole, each
with its own encoder, precision and temperature, and the answers are over the temperature of the member that gave
them. It costs the size and the memory of both. Limit: the share that is expected is that of the validation rows;
traffic that is harder is slower; and a recommender's scores of two models make one order only as far as both are
calibrated. Source: Viola and Jones 2001 for cascades; Teerapittayanon et al. 2016
(arXiv:1709.01686) for leaving early when sure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import TRAINING_ROWS, Artifact, models_of, write_cascade
from toolkit.cascade import Cascade
from toolkit.compress.thresholds import choose_share, choose_threshold
from toolkit.core import CASCADE, Core
from toolkit.data import Split, hash_rows
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.golden import Golden, rows_to_bytes
from toolkit.lineage import Step, digest_of
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.routing import LARGE, MEMBERS, SMALL, Router, join_specs, margins
from toolkit.spec import Array, softmax

CLEAR = 0.05  # of a probability: golden rows are this far from going, or being answered, another way
GOLDEN_ROWS = 2  # for each member


def cascade(
    small: Artifact,
    large: Artifact,
    folder: Path,
    *,
    validation: Split,
    max_drop: float | None = None,
    share: float | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> Artifact:
    """Write the cascade of two ONNX artifacts into `folder` (already staged).

    Its threshold is the smallest that keeps the accuracy on `validation` within `max_drop` of the large model's,
    or the one that defers nearest to `share` of those rows. Raises `RecipeError` unless exactly one of the two is
    given, `DataError` for no rows, training rows or test rows, `InputError` for members of different tasks or
    labels and for one that is no single ONNX model.
    """
    if (max_drop is None) == (share is None):
        raise RecipeError("give either max_drop, the accuracy that may be lost, or share, the part of rows to defer")
    members = {SMALL: small, LARGE: large}
    _check_members(small, large)
    for member in members.values():
        _check_rows(member, validation)
    with Predictor.load(small) as first, Predictor.load(large) as second:
        logits: dict[str, Array] = {}
        for done, (role, predictor) in enumerate(((SMALL, first), (LARGE, second))):
            progress("cascade", done, 3, f"the {role} model answers {len(validation)} validation rows")
            logits[role] = predictor.logits(validation.examples) / predictor.temperature
        accuracies = {role: float((found.argmax(axis=1) == validation.labels).mean()) for role, found in logits.items()}
        answers = (logits[SMALL], logits[LARGE], validation.labels)
        if share is not None:
            router = choose_share(*answers, share=share)
        else:
            router = choose_threshold(*answers, reference_accuracy=accuracies[LARGE], max_drop=max_drop or 0.0)
        golden = _golden(Cascade(first, second, router), logits, validation)
    settings: dict[str, Any] = {
        **router.to_json(),
        "asked": {"max_drop": max_drop, "share": share},
        "rows": len(validation),
        "rows_digest": digest_of([str(key) for key in hash_rows(validation.examples)]),
        "validation_accuracy": {**accuracies, CASCADE: router.accuracy},
        # what a row costs on average, in what a clock cannot make differ: bytes of model that it runs through
        "mean_model_bytes": round(_model_bytes(small) + router.share * _model_bytes(large)),
        "members": {role: member.digest for role, member in members.items()},
    }
    core = Core(
        name=name or f"{small.name}-cascade",
        format=CASCADE,
        spec=join_specs({role: member.spec for role, member in members.items()}),
        steps=(Step(CASCADE, settings),),
        parent=large.digest,
        split=small.core.split or large.core.split,
        precision=small.core.precision if small.core.precision == large.core.precision else "mixed",
        models=models_of(members),
        router=router,
        members={role: member.digest for role, member in members.items()},
    )
    written = write_cascade(folder, core, members, golden=golden, evidence=_evidence(small, large))
    progress("cascade", 3, 3, describe_router(router))
    return written


def describe_router(router: Router) -> str:
    """The choice in a few words, and what to do instead where one member alone would answer all."""
    words = f"{100 * router.share:.1f} % of validation rows deferred, accuracy {100 * router.accuracy:.1f} % on all"
    alone = {0.0: "the small model alone does as well", 1.0: "the large model alone is faster"}.get(router.share)
    return f"{words}; {alone}" if alone else words


def _check_members(small: Artifact, large: Artifact) -> None:
    for member in (small, large):
        if member.members:
            raise InputError(f"{member.folder} is a cascade; a cascade has two single models, give one of its members")
        if member.core.format != "onnx":
            raise InputError(f"{member.folder} holds a trained classifier, not ONNX; run toolkit export first")
    if small.spec.task != large.spec.task:
        raise InputError(f"{small.folder} is of the task {small.spec.task} and {large.folder} of {large.spec.task}")
    if small.spec.labels != large.spec.labels:
        odd = sorted(set(small.spec.labels) ^ set(large.spec.labels))
        what = f"only one of them has: {', '.join(odd[:5])}" if odd else "their order differs"
        raise InputError(f"{small.folder} and {large.folder} do not have the same labels; {what}")


def _check_rows(member: Artifact, validation: Split) -> None:
    """Raise `DataError` for no rows, and for those that `member` was trained on or is to be tested on."""
    if not len(validation):
        raise DataError("there are no validation rows to choose a threshold on; give data that has some")
    known = member.core.split.digests if member.core.split else {}
    digest = digest_of([[str(key) for key in hash_rows(validation.examples)], validation.labels.tolist()])
    role = next((role for role, found in known.items() if found == digest), None)
    if role == "test":
        raise DataError(f"these are the test rows of {member.name}; choose on its validation rows, a test comes after")
    if role == "train":
        raise DataError(f"{member.name} was trained on these rows and is too sure of them; give its validation rows")
    learned = member.training_rows()
    if role is None and known and learned is not None:
        strangers = int((~np.isin(hash_rows(validation.examples), learned)).sum())
        if strangers:
            raise DataError(
                f"{strangers} of {len(validation)} rows are none that {member.name} was made with, so they may be "
                "its test rows; give the validation rows of its own data"
            )


def _golden(predictor: Cascade, logits: dict[str, Array], validation: Split) -> Golden | None:
    """Rows that clearly go to each member and are clearly answered there; None where there are none."""
    threshold = predictor.router.threshold
    first, second = (margins(softmax(logits[role])) for role in MEMBERS)
    clear = {SMALL: first - threshold, LARGE: np.minimum(threshold - first, second)}
    chosen: list[int] = []
    for distance in clear.values():
        best = np.argsort(-distance, kind="stable")[:GOLDEN_ROWS]
        chosen += [row for row in best.tolist() if distance[row] >= CLEAR]
    if not chosen:
        return None
    arrays = predictor.encoder.encode([validation.examples[row] for row in chosen])
    singles = [{key: array[row : row + 1] for key, array in arrays.items()} for row in range(len(chosen))]
    return Golden(arrays, np.concatenate([predictor.runner.run(single) for single in singles]))


def _evidence(small: Artifact, large: Artifact) -> dict[str, bytes]:
    """Hashes of the rows that either member was made with: the cascade may be tested on none of them."""
    known = [rows for member in (small, large) if (rows := member.training_rows()) is not None]
    return {TRAINING_ROWS: rows_to_bytes(np.unique(np.concatenate(known)))} if known else {}


def _model_bytes(artifact: Artifact) -> int:
    return sum(int(artifact.files[path]["bytes"]) for path in artifact.core.models)
