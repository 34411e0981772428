"""What every exported file must pass before it is an artifact: checked, compared at every shape, then written.

Nothing reaches the folder before the comparison has passed, so a failure leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.artifact import EVIDENCE, TRAINING_ROWS, Artifact, write_artifact
from toolkit.core import Core
from toolkit.errors import ParityError, require
from toolkit.golden import Golden, rows_to_bytes
from toolkit.judge.parity import Parity, Runs, parity
from toolkit.lineage import canonical_json
from toolkit.machine import threads_allowed
from toolkit.progress import Progress, silent
from toolkit.runners.onnx import OnnxRunner
from toolkit.spec import Array, Arrays

if TYPE_CHECKING:
    from pathlib import Path

    from toolkit.encoders import Encoder

MODEL = "model.onnx"
OPSET = 17
GOLDEN_ROWS = 4


def pass_door(
    model: bytes,
    reference: Runs,
    batches: Sequence[Arrays],
    *,
    sample: Arrays,
    progress: Progress = silent,
) -> tuple[Golden, Parity]:
    """Check the graph, compare it with `reference` on every batch, and choose golden rows from `sample`.

    Raises `ParityError` when the checker refuses the graph or a logit differs by more than 1e-4 relative.
    """
    onnx = require("onnx", extra="train")
    try:
        onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    except onnx.checker.ValidationError as error:
        raise ParityError(f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}") from None
    with OnnxRunner(model, threads=threads_allowed()) as runner:
        found = parity(reference, runner, _reported(batches, progress))
        if not found.passed():
            raise ParityError(
                f"the exported model differs from PyTorch by {found.max_relative_difference:.1e} relative at input "
                f"shape {list(found.worst)}; at most 1e-4 is allowed, so nothing was written"
            )
        return choose_golden(runner, sample), found


def write_exported(
    folder: Path,
    core: Core,
    encoder: Encoder,
    *,
    model: bytes,
    checked: tuple[Golden, Parity],
    training_rows: Array | None = None,
) -> Artifact:
    """Write the artifact, and beside it as evidence what the comparison found and the rows of training."""
    golden, found = checked
    evidence = {} if training_rows is None else {TRAINING_ROWS: rows_to_bytes(training_rows)}
    core = replace(core, format="onnx", models=(MODEL,))
    artifact = write_artifact(folder, core, encoder, models={MODEL: model}, golden=golden, evidence=evidence)
    (folder / EVIDENCE).mkdir(exist_ok=True)
    report = canonical_json({"digest": artifact.digest, "parity": found.to_json()})
    (folder / EVIDENCE / "parity.json").write_bytes(report)
    return artifact


def choose_golden(runner: Runs, sample: Arrays) -> Golden:
    """The rows of `sample` that are clearest, one of each label first: a self-test that INT8 can pass too."""
    rows = len(next(iter(sample.values())))
    logits = np.concatenate([runner.run(_rows(sample, [row])) for row in range(rows)])
    ordered = np.sort(logits, axis=1)
    by_margin = np.argsort(ordered[:, -2] - ordered[:, -1], kind="stable").tolist()
    labels = logits.argmax(axis=1)
    first_of_label = {int(labels[row]): row for row in reversed(by_margin)}
    best = set(first_of_label.values())
    chosen = sorted(by_margin, key=lambda row: row not in best)[:GOLDEN_ROWS]
    return Golden(_rows(sample, chosen), logits[chosen])


def _rows(arrays: Arrays, rows: list[int]) -> dict[str, Array]:
    return {name: array[rows] for name, array in arrays.items()}


def _reported(batches: Sequence[Arrays], progress: Progress) -> Iterable[Mapping[str, Any]]:
    for done, arrays in enumerate(batches):
        shape = "x".join(str(size) for size in next(iter(arrays.values())).shape)
        progress("parity", done, len(batches), f"shape {shape}")
        yield arrays
    progress("parity", len(batches), len(batches))
