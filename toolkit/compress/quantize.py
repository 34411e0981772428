"""An ONNX artifact made smaller after the door, and faster where products in 8 bits dominate.

*Dynamic* takes the scale of an activation from the batch that runs, so a row's neighbours move its answer a
little: such an artifact is judged and served a row at a time. *Static* freezes the scales, measured on named
training rows (`calibration`), as Q/DQ pairs in the graph. *Weights* and *fp16* store less and compute in float:
on a CPU they buy size and not time. Where the processor has no VNNI the weights keep to 7 bits
(`reduce_range`), or sums of two products saturate in 16 and accuracy is lost without a word.
Embedding tables are stored in 8 bits in each integer mode (`tables`); the graphs are made in `int8`, and in
`toolkit.export.precision`. Every setting is a field of `Scheme`.
Limit: answers are near those of fp32, not equal; what that costs is for `verify` to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.artifact import TRAINING_ROWS, Artifact, write_artifact
from toolkit.compress.calibration import Rows, choose_rows
from toolkit.compress.int8 import Quantized, quantize_graph
from toolkit.compress.scheme import Scheme
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.errors import InputError, RecipeError, require
from toolkit.export.precision import to_fp16
from toolkit.golden import Golden, rows_to_bytes
from toolkit.lineage import Step
from toolkit.machine import describe_machine
from toolkit.progress import Progress, silent
from toolkit.runners.onnx import OnnxRunner

if TYPE_CHECKING:
    from toolkit.compress.audit import Audit

VNNI_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")
WIDE_MARGIN = 1.0  # of a logit: what no INT8 kernel should move a golden row over
CALIBRATION = "calibration.json"


def quantize(
    artifact: Artifact,
    folder: Path,
    scheme: Scheme,
    *,
    calibration: Split | None = None,
    name: str | None = None,
    audit: Audit | None = None,
    progress: Progress = silent,
) -> Artifact:
    """Write the form of an fp32 ONNX `artifact` that `scheme` asks for into `folder` (already staged).

    Static mode and smoothing measure on rows of `calibration`. `audit` goes into evidence/calibration.json.
    Raises `DataError` for test rows or strangers to calibrate on, `InputError` for an artifact with nothing to
    quantize, `RecipeError` for no rows where they are needed or a node to keep in float that is not there.
    """
    check_artifact(artifact, scheme, calibration)
    encoder = artifact.encoder()
    model = artifact.read(artifact.core.models[0])
    progress("quantize", 0, 1, scheme.mode)
    chosen = None
    if scheme.mode == "fp16":
        made = Quantized(to_fp16(model, keep_float=scheme.keep_float))
    else:
        if scheme.calibrates and calibration is not None:
            chosen = choose_rows(artifact, calibration, encoder, rows=scheme.rows, seed=scheme.seed)
        made = quantize_graph(
            model,
            scheme,
            batches=() if chosen is None else chosen.batches,
            reduce_range=reduces_range(scheme),
            progress=progress,
        )
    settings = describe(scheme, made, chosen)
    written = write_quantized(artifact, folder, scheme, made, encoder, settings=settings, name=name, audit=audit)
    progress("quantize", 1, 1, f"{scheme.mode}, {written.size_bytes / 1e6:.1f} MB")
    return written


def check_artifact(artifact: Artifact, scheme: Scheme, calibration: Split | None) -> None:
    """Raises `InputError` unless `artifact` is one fp32 ONNX model, `RecipeError` for rows that are missing."""
    require("onnx", extra="train")
    core = artifact.core
    if core.format != "onnx" or len(core.models) != 1:
        raise InputError(f"{artifact.folder} is no single ONNX model; give a folder made by toolkit export")
    if core.precision != "fp32":
        raise InputError(f"{artifact.folder} is {core.precision} already; quantize the fp32 artifact it came from")
    if scheme.calibrates and calibration is None:
        what = "static mode measures ranges" if scheme.mode == "static" else "smoothing measures outliers"
        raise RecipeError(f"{what} on training rows and got none; give them, or use mode dynamic without smoothing")


def describe(scheme: Scheme, made: Quantized, chosen: Rows | None) -> dict[str, Any]:
    """The settings of the step, as they stand in the lineage."""
    settings = scheme.to_json()
    if scheme.mode in ("dynamic", "static"):
        settings["reduce_range"] = reduces_range(scheme)
    if chosen is not None:
        settings |= {"rows": chosen.count, "split": chosen.split, "rows_digest": chosen.digest, "seed": scheme.seed}
    if made.smoothed is not None:
        settings["smoothed"] = {"folded": made.smoothed.folded, "multiplied": made.smoothed.multiplied}
    if scheme.mode != "fp16":
        settings |= {"int8": dict(made.int8), "float": dict(made.left)} | (
            {"int4": dict(made.int4)} if made.int4 else {}
        )
    if scheme.mode in ("weights", "fp16"):
        settings["buys"] = "size, not time, on a CPU"
    return settings


def write_quantized(
    artifact: Artifact,
    folder: Path,
    scheme: Scheme,
    made: Quantized,
    encoder: Encoder,
    *,
    settings: Mapping[str, Any],
    name: str | None = None,
    audit: Audit | None = None,
) -> Artifact:
    """Write what was made of `artifact` with its step, its own golden rows, and the evidence that travels along."""
    core = replace(
        artifact.core,
        name=name or artifact.name,
        steps=(*artifact.core.steps, Step("quantize", settings)),
        parent=artifact.digest,
        precision=scheme.precision,
    )
    learned = artifact.training_rows()
    evidence = {} if learned is None else {TRAINING_ROWS: rows_to_bytes(learned)}
    if audit is not None:
        evidence[CALIBRATION] = (json.dumps(audit.to_json(), indent=2, sort_keys=True) + "\n").encode()
    golden = golden_of(artifact, made.model, scheme.precision)
    return write_artifact(folder, core, encoder, models={core.models[0]: made.model}, golden=golden, evidence=evidence)


def reduces_range(scheme: Scheme) -> bool:
    """Whether weights keep to 7 bits: only for kernels of this processor, never for a GPU."""
    return scheme.target == "cpu" and scheme.mode in ("dynamic", "static") and needs_reduced_range()


def needs_reduced_range() -> bool:
    """True on an x86 processor whose 8-bit products go through 16-bit sums that saturate."""
    machine = describe_machine()
    return machine.system.endswith(("x86_64", "AMD64")) and not set(VNNI_FLAGS) & set(machine.flags)


def golden_of(artifact: Artifact, model: bytes, precision: str) -> Golden | None:
    """The parent's golden rows with this model's own logits: those of wide margin, or else the widest."""
    if "golden.npz" not in artifact.files:
        return None
    parent = artifact.golden()
    with OnnxRunner(model, precision=precision) as runner:
        count = range(len(parent.logits))
        singles = [{name: array[row : row + 1] for name, array in parent.arrays.items()} for row in count]
        logits = np.concatenate([runner.run(single) for single in singles])
    ordered = np.sort(logits, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    kept = np.flatnonzero(margin >= min(WIDE_MARGIN, float(margin.max())))
    return Golden({name: array[kept] for name, array in parent.arrays.items()}, logits[kept])
