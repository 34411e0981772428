"""Static quantization with a growing number of calibration rows: how long the step takes, as a user waits for it.

The whole step is timed, graph work and writing included, which no row makes longer: so the slope is under 1 until the
rows outweigh it. What it made must load and pass its own self-test.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale_fit import fit_slopes
from benchmarks.scale_models import Model, Operations
from toolkit.compress.calibration import choose_rows
from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Split
from toolkit.errors import ArtifactError
from toolkit.predictor import Predictor


def time_calibration(model: Model, train: Split, rows: Sequence[int], *, seed: int) -> list[dict[str, Any]]:
    """One round: {"seconds", "right"} for each of `rows`; right is 1 when the result answers its golden rows."""
    found = []
    for count in rows:
        with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
            folder = Path(temporary) / "int8"
            start = time.perf_counter()
            quantize(model.artifact, folder, Scheme(rows=count, seed=seed), calibration=train)
            seconds = time.perf_counter() - start
            found.append({"seconds": seconds, "right": int(_answers(folder))})
    return found


def work_of_rows(model: Model, train: Split, rows: int, *, seed: int) -> Operations:
    """What running the chosen rows once through the fp32 model takes; each without padding."""
    batches = choose_rows(model.artifact, train, model.artifact.encoder(), rows=rows, seed=seed).batches
    shapes = [next(iter(batch.values())).shape for batch in batches]
    return sum((model.operations(length).times(count) for count, length in shapes), Operations(0.0, 0.0))


def gather_calibration(
    rows: Sequence[int], rounds: Sequence[Sequence[dict[str, Any]]], operations_ms: Sequence[float]
) -> dict[str, Any]:
    """{"points", "slope", ...}; the limit is of the products of the rows alone."""
    points = []
    for place, size in enumerate(rows):
        times = [found[place]["seconds"] * 1e3 for found in rounds]
        right = sum(found[place]["right"] for found in rounds)
        points.append({
            "size": size, "ms": statistics.median(times), "rounds_ms": times, "samples": len(times),
            "asked": len(times), "right": right, "success_rate": right / len(times),
            "operations_ms": operations_ms[place], "limit_ms": operations_ms[place],
        })  # fmt: skip
    return {"points": points, **fit_slopes(rows, [point["rounds_ms"] for point in points])}


def _answers(folder: Path) -> bool:
    try:
        with Predictor.load(folder):
            return True
    except ArtifactError:
        return False
