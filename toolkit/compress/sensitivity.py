"""Mixed precision: the operators that cost accuracy go back to float, and no others.

Each operator is quantized alone, all others in float, and its sensitivity is the mean squared difference of the
logits to fp32 on the calibration rows: one small graph an operator, no labels, no search. (Leaving one out of a
fully quantized graph would measure it under the noise of all others.) Then the most sensitive are put back, one
more at a time, until the drop on validation rows, paired, point estimate, is within the margin. If all of them
in INT8 hold it, nothing is put back.
Limits: effects of operators on each other are not seen by the order, only by the check on validation rows. The
choice is made on those rows, so their drop is a little kind; the verdict is the test's.

Source: Cai et al. 2020, ZeroQ (arXiv:2001.00281), sensitivity one layer at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import Artifact
from toolkit.compress.calibration import choose_rows, refuse_test_rows
from toolkit.compress.int8 import Prepared, Quantized, apply, prepare
from toolkit.compress.losing import answer_split, measure_drop, run_model
from toolkit.compress.operators import OPERATORS, find_nodes
from toolkit.compress.quantize import check_artifact, describe, reduces_range, write_quantized
from toolkit.compress.scheme import Scheme
from toolkit.compress.tables import find_tables
from toolkit.data import Split
from toolkit.errors import DataError, GateError, RecipeError
from toolkit.progress import Progress, silent
from toolkit.spec import Array


@dataclass(frozen=True)
class Sensitivity:
    """How far one operator in few bits, alone, moves the logits: mean squared difference on calibration rows."""

    node: str
    operator: str
    value: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"node": self.node, "operator": self.operator, "value": self.value}


def quantize_mixed(
    artifact: Artifact,
    folder: Path,
    scheme: Scheme,
    *,
    calibration: Split,
    validation: Split,
    max_drop: float,
    name: str | None = None,
    progress: Progress = silent,
) -> Artifact:
    """Write `artifact` in few bits, with as many of the most sensitive operators in float as `max_drop` needs.

    The drop is of accuracy (AUC for a recommender), 0 to 1, on `validation`. Raises as `quantize` does;
    `DataError` for no validation rows or those of the test; `GateError` when even one operator left in few bits
    loses more than `max_drop`.
    """
    check_artifact(artifact, scheme, calibration)
    if scheme.mode == "fp16":
        raise RecipeError("mixed precision is for modes static, dynamic and weights; fp16 takes keep_float only")
    if not len(validation):
        raise DataError("mixed precision is chosen on validation rows and got none; give data that has them")
    refuse_test_rows(artifact, validation)
    encoder = artifact.encoder()
    chosen = choose_rows(artifact, calibration, encoder, rows=scheme.rows, seed=scheme.seed)
    model = artifact.read(artifact.core.models[0])
    prepared = prepare(model, scheme, batches=chosen.batches, progress=progress)
    reference = answer_split(artifact, encoder, model, validation, alone=False)
    found: list[Sensitivity] = []
    drops: list[float] = []
    while True:
        kept = (*scheme.keep_float, *(one.node for one in found[: len(drops)]))
        asked = replace(scheme, keep_float=kept)
        made = apply(prepared, asked, reduce_range=reduces_range(scheme))
        logits = answer_split(artifact, encoder, made.model, validation, alone=scheme.mode == "dynamic")
        drops.append(measure_drop(artifact, reference, logits, validation, max_drop))
        progress("mixed", len(drops), max(len(found), 1), f"{len(drops) - 1} in float lose {drops[-1]:+.4f}")
        if drops[-1] <= max_drop:
            break
        found = found or measure_sensitivity(prepared, scheme, chosen.batches, model, progress=progress)
        if len(drops) >= len(found):
            raise GateError(
                f"no mixture loses {max_drop:g} or less: all in few bits lose {drops[0]:.4f}, one of {len(found)} "
                f"operators {drops[-1]:.4f}, on {len(validation)} validation rows; keep the fp32 artifact"
            )
    # what stays float is listed even where nothing had to be put back: the list is what the choice was made from
    found = found or measure_sensitivity(prepared, scheme, chosen.batches, model, progress=progress)
    settings = describe(asked, made, chosen)
    settings["mixed"] = {
        "max_drop": max_drop,
        "drop": drops[-1],
        "drop_of_all": drops[0],
        "validation_rows": len(validation),
        "put_back": [one.node for one in found[: len(drops) - 1]],
        "measured": "one operator quantized at a time, mean squared difference of logits",
        "sensitivity": [one.to_json() for one in found],
    }
    return write_quantized(artifact, folder, asked, made, encoder, settings=settings, name=name)


def measure_sensitivity(
    prepared: Prepared,
    scheme: Scheme,
    batches: Sequence[Mapping[str, Array]],
    model: bytes,
    *,
    progress: Progress = silent,
) -> list[Sensitivity]:
    """Every operator that `scheme` quantizes, the most sensitive first; `model` is the fp32 one."""
    types = {node.name: node.op_type for node in prepared.graph.graph.node}
    units = [
        name
        for name in find_nodes(prepared.graph, scheme.mode, target=scheme.target, keep_float=scheme.keep_float)
        if types[name] in OPERATORS
    ]
    if scheme.target == "cpu":
        units += [node.name for node in find_tables(prepared.graph) if node.name not in scheme.keep_float]
    if scheme.mode == "dynamic":  # as it is served
        batches = [{k: v[row : row + 1] for k, v in batch.items()} for batch in batches for row in range(_rows(batch))]
    expected = run_model(model, batches)
    found = []
    for done, unit in enumerate(units, start=1):
        others = tuple(name for name in (*units, *scheme.keep_float) if name != unit)
        made: Quantized = apply(prepared, replace(scheme, keep_float=others), reduce_range=reduces_range(scheme))
        value = float(np.mean((run_model(made.model, batches) - expected) ** 2))
        found.append(Sensitivity(unit, types[unit], value))
        progress("sensitivity", done, len(units), f"{unit} {value:.2e}")
    return sorted(found, key=lambda one: -one.value)


def _rows(batch: Mapping[str, Array]) -> int:
    return len(next(iter(batch.values())))
