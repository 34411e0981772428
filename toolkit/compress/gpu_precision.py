"""An fp32 ONNX artifact in the precision that a GPU is to run it in, written into its graph.

| precision | the graph                                              | what decides what stays in float32           |
|-----------|--------------------------------------------------------|----------------------------------------------|
| fp32      | as it is                                                |                                              |
| tf32      | as it is; products may round their inputs to 10 bits    |                                              |
| fp16      | casts; norms, softmax, means and sums in float32        | sensitivity of each kind of operator         |
| bf16      | casts, the same operators in float32                    | the range is float32's: nothing to measure   |
| int8, fp8 | Q/DQ at products, the rest as in fp16                   | sensitivity of each product, under `max_drop` |

*Sensitivity* is the mean squared difference of the logits to fp32 on training rows, with one kind of operator in fp16
(or one product in 8 bits) and all else in float32. A kind whose differences reach `MOST_MOVED` of the logits' own
spread stays in float32. Products go back to fp16, the most sensitive first, until the drop on validation rows holds.
Answers are computed by ONNX Runtime on the CPU, which knows these types and is not fast in them: what is measured
here is rounding, never time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import TRAINING_ROWS, Artifact, write_artifact
from toolkit.compress.calibration import choose_rows, measure_ranges
from toolkit.compress.explicit import find_products, quantize_explicitly
from toolkit.compress.int8 import prepare_graph
from toolkit.compress.losing import answer_split, measure_drop, run_model
from toolkit.compress.quantize import golden_of
from toolkit.compress.two_four import cut_two_four
from toolkit.data import Split
from toolkit.encoders import Encoder
from toolkit.engines.flags import Flags
from toolkit.engines.order import BUILD
from toolkit.engines.profiles import BATCH, MAX_BATCH, derive_profiles
from toolkit.errors import GateError, InputError, RecipeError, require
from toolkit.export.precision import FLOAT_OPERATORS, to_bf16, to_fp16
from toolkit.golden import rows_to_bytes
from toolkit.lineage import Step
from toolkit.progress import Progress, silent
from toolkit.spec import Array

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
CALIBRATED = ("int8", "fp8")
MOST_MOVED = 1e-4  # squared difference of a kind over the variance of the logits: one hundredth of their spread
LENGTHS = 2_000  # training rows whose lengths the shapes are made for
# what has no arithmetic to round, or works on indices
UNTOUCHED = frozenset({"Cast", "Shape", "Constant", "Gather", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Concat",
                       "Slice", "Expand", "Identity", "Flatten", "Equal", "Not", "And", "Range"})  # fmt: skip


@dataclass(frozen=True)
class Request:
    """Everything that `toolkit build` can ask; `max_drop` puts products back until it holds on validation rows."""

    precision: str
    flags: Flags = field(default_factory=Flags)
    max_batch: int = MAX_BATCH
    rows: int = 256
    seed: int = 0
    max_drop: float | None = None
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise RecipeError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if self.max_drop is not None and self.precision not in CALIBRATED:
            raise RecipeError(f"max_drop puts products of int8 and fp8 back; {self.precision} has none: use verify")


def write_in_precision(
    artifact: Artifact,
    folder: Path,
    request: Request,
    *,
    train: Split | None = None,
    validation: Split | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> Artifact:
    """Write `artifact` in `request.precision` into `folder` (already staged), with the shapes of its data.

    `train` rows give ranges, sensitivities and lengths. Raises `InputError` for what is no single fp32 ONNX model,
    `RecipeError` where rows are needed and missing, `GateError` when no mixture holds `max_drop`.
    """
    require("onnx", extra="train")
    core, encoder = artifact.core, artifact.encoder()
    if core.format != "onnx" or len(core.models) != 1 or core.precision != "fp32":
        raise InputError(f"{artifact.folder} is {core.precision} {core.format}; give the fp32 folder of toolkit export")
    if request.precision in CALIBRATED and train is None:
        raise RecipeError(f"{request.precision} takes its scales from training rows; add --data")
    chosen = None if train is None else choose_rows(artifact, train, encoder, rows=request.rows, seed=request.seed)
    batches = () if chosen is None else chosen.batches
    model, found, cut = artifact.read(core.models[0]), dict[str, Any](), dict[str, int]()
    if request.flags.sparse:
        model, cut = cut_two_four(model)
    if request.precision in CALIBRATED:
        made, found = _in_eight_bits(artifact, model, batches, request, validation, progress)
    elif request.precision == "bf16":
        made = to_bf16(model, keep_float=request.keep_float)
    elif request.precision == "fp16":
        made, found = _in_fp16(model, batches, request, progress)
    else:
        made = model
    lengths = () if train is None else measure_lengths(artifact, encoder, train)
    profiles = derive_profiles(artifact.spec, lengths=lengths, max_batch=request.max_batch)
    settings = {
        "precision": request.precision, "target": "tensorrt",
        "flags": replace(request.flags, tf32=request.precision == "tf32").to_json(),
        "profiles": [profile.to_json() for profile in profiles], **found,
    }  # fmt: skip
    if cut:
        settings["two_four"] = cut
    if request.keep_float:
        settings["keep_float"] = sorted(request.keep_float)
    if chosen is not None:
        settings |= {"rows": chosen.count, "split": chosen.split, "rows_digest": chosen.digest, "seed": request.seed}
    written = replace(
        core, name=name or artifact.name, steps=(*core.steps, Step(BUILD, settings)), parent=artifact.digest,
        precision=request.precision,
    )  # fmt: skip
    learned = artifact.training_rows()
    evidence = {} if learned is None else {TRAINING_ROWS: rows_to_bytes(learned)}
    # ONNX Runtime's CPU provider runs no bf16; its golden rows are those of the fp32 file, for their labels
    golden = golden_of(artifact, model if request.precision == "bf16" else made, request.precision)
    return write_artifact(folder, written, encoder, models={core.models[0]: made}, golden=golden, evidence=evidence)


def measure_lengths(artifact: Artifact, encoder: Encoder, rows: Split) -> list[int]:
    """How long each of the first `LENGTHS` rows is once it is encoded; empty where nothing but the batch varies."""
    place = next(
        ((declared.name, axis) for declared in artifact.spec.inputs for axis, size in enumerate(declared.shape)
         if isinstance(size, str) and size != BATCH), None,
    )  # fmt: skip
    if place is None:
        return []
    name, axis = place
    return [encoder.encode([example])[name].shape[axis] for example in rows.examples[:LENGTHS]]


def _in_fp16(
    model: bytes, batches: Sequence[Mapping[str, Array]], request: Request, progress: Progress
) -> tuple[bytes, dict[str, Any]]:
    """fp16 with the operators in float32 that must be, and those that were measured to move the answers."""
    if not batches:
        return to_fp16(model, keep_float=request.keep_float), {}
    moved = measure_kinds(model, batches, progress=progress)
    kept = [kind for kind, value in moved.items() if value >= MOST_MOVED and kind not in FLOAT_OPERATORS]
    made = to_fp16(model, keep_float=request.keep_float, float_operators=(*FLOAT_OPERATORS, *kept))
    return made, {"sensitivity": moved, "kept_float": kept}


def measure_kinds(
    model: bytes, batches: Sequence[Mapping[str, Array]], *, progress: Progress = silent
) -> dict[str, float]:
    """Kind of operator -> mean squared difference of the logits with that kind alone in fp16, over their variance."""
    onnx = require("onnx", extra="train")
    graph = onnx.load_from_string(model)
    nodes = [(node.name or f"{node.op_type}_{place}", node.op_type) for place, node in enumerate(graph.graph.node)]
    kinds = sorted({kind for _, kind in nodes} - UNTOUCHED)
    expected = run_model(model, batches)
    spread, moved = float(expected.var()) or 1.0, {}
    for done, kind in enumerate(kinds, start=1):
        others = [name for name, other in nodes if other != kind]
        try:
            made = to_fp16(model, keep_float=others, float_operators=())
        except InputError:  # this kind has no weights of its own: its inputs are cast and nothing is stored smaller
            made = to_fp16(model, keep_float=others, float_operators=(), stored=False)
        moved[kind] = float(np.mean((run_model(made, batches) - expected) ** 2)) / spread
        progress("sensitivity", done, len(kinds), f"{kind} {moved[kind]:.1e}")
    return dict(sorted(moved.items(), key=lambda item: -item[1]))


def _in_eight_bits(
    artifact: Artifact, model: bytes, batches: Sequence[Mapping[str, Array]], request: Request,
    validation: Split | None, progress: Progress,
) -> tuple[bytes, dict[str, Any]]:  # fmt: skip
    """Products in 8 bits; with `max_drop` as many as hold it on validation rows."""
    graph = prepare_graph(model)
    products = find_products(graph, keep_float=request.keep_float)
    if not products:
        raise InputError("nothing to quantize: no product of this graph has weights enough; build it in fp16")
    types = {node.name: node.op_type for node in graph.graph.node}
    ranges = measure_ranges(
        graph, batches, sorted({types[name] for name in products}), method="minmax", progress=progress
    )
    largest = {name: _largest(ranges[name]) for name in ranges.keys()}  # noqa: SIM118 - it is no mapping

    def make(nodes: Sequence[str]) -> bytes:
        return quantize_explicitly(graph, largest, request.precision, nodes=nodes, keep_float=request.keep_float)

    if request.max_drop is None:
        return make(products), {"products": len(products)}
    if validation is None or not len(validation):
        raise RecipeError("max_drop is held on validation rows and there are none; give data that has them")
    encoder = artifact.encoder()
    reference, order, drops = answer_split(artifact, encoder, model, validation), list[str](), list[float]()
    moved: dict[str, float] = {}
    while True:
        back = order[: len(drops)]
        made = make([name for name in products if name not in back])
        drops.append(
            measure_drop(
                artifact, reference, answer_split(artifact, encoder, made, validation), validation, request.max_drop
            )
        )
        progress("mixed", len(drops), len(products), f"{len(back)} in fp16 lose {drops[-1]:+.4f}")
        if drops[-1] <= request.max_drop:
            break
        if not order:
            expected = run_model(model, batches)
            moved = {name: float(np.mean((run_model(make([name]), batches) - expected) ** 2)) for name in products}
            order = sorted(products, key=lambda name: -moved[name])
        if len(drops) >= len(products):
            raise GateError(
                f"no mixture loses {request.max_drop:g} or less: all {len(products)} products in {request.precision} "
                f"lose {drops[0]:.4f}, one loses {drops[-1]:.4f}, on {len(validation)} validation rows; use fp16"
            )
    return made, {
        "products": len(products) - len(back), "max_drop": request.max_drop, "drop": drops[-1],
        "drop_of_all": drops[0], "put_back": back, "sensitivity": moved,
    }  # fmt: skip


def _largest(range_: Any) -> float:
    """The largest absolute value that a tensor took."""
    low, high = (float(np.asarray(value).reshape(-1)[0]) for value in range_.range_value)
    return max(abs(low), abs(high))
