"""A folder to a model that can answer at once: verified, opened, self-tested, warmed, frozen.

The first answer of a cold server pays for the tokenizer's parse, the runtime's arenas and page
faults, so all of that happens before it is called ready. `gc.freeze` then takes what was loaded out
of the collector's walks: without it p99 grows with uptime.
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import CORE, EVIDENCE, Artifact, load_artifact
from toolkit.core import CASCADE
from toolkit.errors import ArtifactError
from toolkit.machine import processor_name
from toolkit.measure.cost import COST, CostCurve, measure_cost
from toolkit.predictor import BATCH_SIZE, Predictor
from toolkit.serving.batching import decide_batching
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings, settings_from
from toolkit.signing import require_signature
from toolkit.spec import Array, Input, Spec

FOLDER_VARIABLE = "TOOLKIT_ARTIFACT"
SERVABLE = ("onnx", CASCADE)
MAX_COST_BYTES = 1 << 16
MEASURED_ROWS = 8  # of a curve that a start has to wait for
_EXAMPLES: dict[str, Any] = {"text": "a", "image": np.zeros((8, 8), dtype=np.uint8), "recommend": {}}


def find_artifact(beside: Path) -> Path:
    """`artifact/` in the folder of a service (a bento's), else the folder named by TOOLKIT_ARTIFACT.

    The bento's own comes first: its tag says what it serves, and a forgotten variable must not.
    """
    own = beside / "artifact"
    if (own / CORE).is_file():
        return own
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        raise ArtifactError(f"there is nothing to serve: no {own}; name an artifact by {FOLDER_VARIABLE}=FOLDER")
    return Path(named)


def load_served(folder: Path | str, *, task: str | None = None, settings: Settings | None = None) -> Served:
    """Load an ONNX artifact or a cascade for serving; raises `ArtifactError` when anything about it is not right.

    `task` refuses an artifact of another task than the service is for.
    """
    settings = settings or settings_from()
    artifact = load_artifact(folder)
    require_signature(artifact)
    check_servable(artifact, task=task)
    stored = stored_cost(artifact, settings) if settings.provider == "cpu" else None  # it is of a processor
    moved_is_known = stored is not None and stored.neighbours is not None and stored.neighbours.harmless
    together = settings.batching == "always" or (settings.batching == "auto" and moved_is_known)
    predictor = Predictor.load(
        artifact, threads=settings.threads, provider=settings.provider, batch_size=BATCH_SIZE if together else None
    )
    largest = MEASURED_ROWS if settings.provider == "cpu" else settings.max_batch  # a GPU is asked for its many rows
    curve = stored or measure_cost(predictor, digest=artifact.digest, threads=settings.threads, largest=largest)
    source = "toolkit bench" if stored else "when this server started"
    served = Served(predictor, artifact, settings, decide_batching(predictor, curve, settings, source=source))
    warm(served)
    gc.collect()
    gc.freeze()
    return served


def stored_cost(artifact: Artifact, settings: Settings) -> CostCurve | None:
    """What `toolkit bench` measured of this very artifact on a processor like this one, None if it did not."""
    path = artifact.folder / EVIDENCE / COST
    try:
        curve = CostCurve.from_json(json.loads(path.read_bytes()[:MAX_COST_BYTES]))
    except (OSError, ValueError, RecursionError, ArtifactError):  # evidence is outside the digest: it may be anything
        return None
    here = (artifact.digest, settings.threads, processor_name())
    return curve if (curve.digest, curve.threads, curve.processor) == here else None


def check_servable(artifact: Artifact, *, task: str | None = None) -> None:
    """Raise `ArtifactError` unless it is an ONNX artifact or a cascade of two, of `task` if one is given."""
    if artifact.core.format not in SERVABLE:
        raise ArtifactError(f"{artifact.folder} holds a trained classifier, not ONNX; run toolkit export first")
    if task is not None and artifact.spec.task != task:
        raise ArtifactError(f"{artifact.folder} is of the task {artifact.spec.task}; this service is for {task}")


def warm(served: Served) -> None:
    """Answer one example, then run every varying axis at its smallest, middle and largest size.

    Both members of a cascade, whichever of them would have answered.
    """
    for part in served.predictor.parts:
        part([_EXAMPLES[served.spec.task]])
        for arrays in warm_up_arrays(part.spec):
            part.runner.run(arrays)
    served.predictor([_EXAMPLES[served.spec.task]])


def warm_up_arrays(spec: Spec) -> list[dict[str, Array]]:
    """One row for each of three sizes of the varying axes; a single one where nothing varies."""
    axes = {axis for declared in spec.inputs for axis in declared.shape if isinstance(axis, str)} - {"batch"}
    if not axes:
        return [{declared.name: _blank(declared, {}, 0) for declared in spec.inputs}]
    bounds = {axis: spec.limits.get(axis, (1, 1)) for axis in axes}
    return [{declared.name: _blank(declared, bounds, part) for declared in spec.inputs} for part in range(3)]


def _blank(declared: Input, bounds: dict[str, tuple[int, int]], part: int) -> Array:
    """Zeros, a valid index of any vocabulary, and a mask that hides nothing."""
    sizes = {axis: max(low, 1) + (max(high, 1) - max(low, 1)) * part // 2 for axis, (low, high) in bounds.items()}
    shape = [axis if isinstance(axis, int) else sizes.get(axis, 1) for axis in declared.shape]
    return np.full(shape, int(declared.name.endswith("mask")), dtype=declared.dtype)
