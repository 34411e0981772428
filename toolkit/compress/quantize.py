"""INT8 after the door: an ONNX artifact made four times smaller, and faster where products dominate.

*Dynamic* takes the scale of an activation from the batch that runs, so a row's neighbours move its answer a
little: such an artifact is judged and served a row at a time. *Static* freezes the scales, measured on named
training rows (`calibration`), as Q/DQ pairs in the graph. Where the processor has no VNNI the weights keep
to 7 bits (`reduce_range`), or sums of two products saturate in 16 and accuracy is lost without a word.
Embedding tables are stored in 8 bits in both modes (`tables`); the graphs are made in `int8`.
Limit: answers are near those of fp32, not equal; what that costs is for `verify` to say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import TRAINING_ROWS, Artifact, Golden, rows_to_bytes, write_artifact
from toolkit.compress.calibration import METHODS, choose_rows
from toolkit.compress.int8 import MODES, quantize_graph
from toolkit.data import Split
from toolkit.errors import InputError, RecipeError, require
from toolkit.lineage import Step
from toolkit.machine import describe_machine
from toolkit.progress import Progress, silent
from toolkit.runners.onnx import OnnxRunner

VNNI_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")
WIDE_MARGIN = 1.0  # of a logit: what no INT8 kernel should move a golden row over


def quantize(
    artifact: Artifact,
    folder: Path,
    *,
    mode: str,
    calibration: Split | None = None,
    method: str = "minmax",
    rows: int = 256,
    seed: int = 0,
    name: str | None = None,
    progress: Progress = silent,
) -> Artifact:
    """Write the INT8 form of an fp32 ONNX `artifact` into `folder` (already staged).

    Static mode measures ranges on `rows` rows of `calibration` chosen by `seed`, by `method` (minmax, entropy,
    percentile). Raises `RecipeError` for an unknown mode or method, `DataError` for test rows or strangers
    to calibrate on, `InputError` for an artifact with nothing to quantize.
    """
    require("onnx", extra="train")
    _check(artifact, mode, method, calibration)
    encoder = artifact.encoder()
    settings: dict[str, Any] = {"mode": mode, "reduce_range": needs_reduced_range()}
    batches: Any = ()
    if mode == "static" and calibration is not None:
        chosen = choose_rows(artifact, calibration, encoder, rows=rows, seed=seed)
        batches = chosen.batches
        settings |= {"method": method, "rows": chosen.count, "split": chosen.split, "rows_digest": chosen.digest}
        settings["seed"] = seed
    progress("quantize", 0, 1, f"{mode} INT8")
    made = quantize_graph(
        artifact.read(artifact.core.models[0]),
        mode=mode,
        batches=batches,
        method=method,
        reduce_range=settings["reduce_range"],
        progress=progress,
    )
    settings |= {"int8": dict(made.int8), "float": dict(made.left)}
    core = replace(
        artifact.core,
        name=name or artifact.name,
        steps=(*artifact.core.steps, Step("quantize", settings)),
        parent=artifact.digest,
        precision="int8",
    )
    learned = artifact.training_rows()
    written = write_artifact(
        folder,
        core,
        encoder,
        models={core.models[0]: made.model},
        golden=_golden(artifact, made.model),
        evidence={} if learned is None else {TRAINING_ROWS: rows_to_bytes(learned)},
    )
    progress("quantize", 1, 1, f"{mode} INT8, {written.size_bytes / 1e6:.1f} MB")
    return written


def needs_reduced_range() -> bool:
    """True on an x86 processor whose 8-bit products go through 16-bit sums that saturate."""
    machine = describe_machine()
    return machine.system.endswith(("x86_64", "AMD64")) and not set(VNNI_FLAGS) & set(machine.flags)


def _check(artifact: Artifact, mode: str, method: str, calibration: Split | None) -> None:
    if mode not in MODES:
        raise RecipeError(f"mode is {mode!r}; allowed: {', '.join(MODES)}")
    if method not in METHODS:
        raise RecipeError(f"method is {method!r}; allowed: {', '.join(METHODS)}")
    core = artifact.core
    if core.format != "onnx" or len(core.models) != 1:
        raise InputError(f"{artifact.folder} is no single ONNX model; give a folder made by toolkit export")
    if core.precision != "fp32":
        raise InputError(f"{artifact.folder} is {core.precision} already; quantize the fp32 artifact it came from")
    if mode == "static" and calibration is None:
        raise RecipeError("static mode measures ranges on training rows and got none; give them, or use mode dynamic")


def _golden(artifact: Artifact, model: bytes) -> Golden | None:
    """The parent's golden rows with this model's own logits: those of wide margin, or else the widest."""
    if "golden.npz" not in artifact.files:
        return None
    parent = artifact.golden()
    with OnnxRunner(model, precision="int8") as runner:
        count = range(len(parent.logits))
        singles = [{name: array[row : row + 1] for name, array in parent.arrays.items()} for row in count]
        logits = np.concatenate([runner.run(single) for single in singles])
    ordered = np.sort(logits, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    kept = np.flatnonzero(margin >= min(WIDE_MARGIN, float(margin.max())))
    return Golden({name: array[kept] for name, array in parent.arrays.items()}, logits[kept])
