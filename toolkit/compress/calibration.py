"""The ranges that static INT8 freezes, measured on rows a model was trained on.

Never on test rows, which would make the judge a witness, and never on random numbers, whose ranges are
nobody's. The rows are named: which split, how many, the seed that chose them, the digest of what was
chosen. A row is run without padding, together with rows of its own length, so that what fills up a batch
never widens a range.
Limit: an artifact made elsewhere (`hf:`) does not know its rows; what is given is taken and recorded.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.artifact import Artifact
from toolkit.data import Split, digest_of_split, hash_rows
from toolkit.encoders import Encoder
from toolkit.errors import DataError, RecipeError
from toolkit.lineage import digest_of
from toolkit.progress import Progress, silent
from toolkit.spec import Array

PERCENTILE = 99.999
TOGETHER = 16
TEST_ROWS = "these are the test rows of this model; give its training rows: a test judges what nothing has seen"


@dataclass(frozen=True)
class Rows:
    """Rows to calibrate on: their encoded arrays, like lengths together, and what the lineage says of them.

    `positions` is int64 (count,): which rows of the split they are, ascending.
    """

    batches: Sequence[Mapping[str, Array]]
    positions: Array
    split: str
    digest: str

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.positions)


def choose_rows(artifact: Artifact, calibration: Split, encoder: Encoder, *, rows: int, seed: int) -> Rows:
    """`rows` of the split by `seed` (all, where it has fewer).

    Raises `DataError` for test rows and for rows that `artifact` was not trained on, where it knows.
    """
    if rows < 1:
        raise RecipeError(f"rows is {rows}; allowed: 1 or more training rows to calibrate on")
    if not len(calibration):
        raise DataError("the calibration split has no rows; give training rows")
    split = _name_of(artifact, calibration)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(calibration))[:rows])
    examples = [calibration.examples[row] for row in chosen.tolist()]
    digest = digest_of([str(key) for key in hash_rows(examples)])
    return Rows(batch_alike(encoder, examples), chosen, split, digest)


def refuse_test_rows(artifact: Artifact, split: Split) -> None:
    """Raises `DataError` when `split` is the test split of the artifact's own data."""
    record = artifact.core.split
    if record is not None and record.digests.get("test") == digest_of_split(split):
        raise DataError(TEST_ROWS)


def measure_ranges(
    model: Any,
    batches: Sequence[Mapping[str, Array]],
    operators: Sequence[str],
    *,
    method: str,
    progress: Progress = silent,
) -> Any:
    """ONNX Runtime's `TensorsData`: the range of every float tensor into or out of `operators` of an ONNX `model`."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    options: dict[str, Any] = {"percentile": PERCENTILE, "num_bins": 2048} if method == "percentile" else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            list(operators),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=methods[method],
            extra_options={"symmetric": False, **options},
        )
        for done, batch in enumerate(batches, start=1):
            with contextlib.redirect_stdout(io.StringIO()):  # it prints
                calibrator.collect_data(_Reader(batch))  # one at a time: a histogram takes arrays of one shape
            progress("calibrate", done, len(batches), f"ranges by {method}")
        with contextlib.redirect_stdout(io.StringIO()):
            return calibrator.compute_data()


class _Reader:
    """One batch, in the form that the calibrator takes."""

    def __init__(self, batch: Mapping[str, Array]) -> None:
        self._batches: Iterator[Mapping[str, Array]] = iter([batch])

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._batches, None)


def _name_of(artifact: Artifact, calibration: Split) -> str:
    """Which split of the artifact's own data this is.

    "learned" for a part of what it was trained on and stopped by, "given" when it does not know its data.
    """
    record, learned = artifact.core.split, artifact.training_rows()
    if record is not None:
        refuse_test_rows(artifact, calibration)
        digest = digest_of_split(calibration)
        name = next((name for name, known in record.digests.items() if known == digest), None)
        if name is not None:
            return name
    if learned is not None:
        strangers = int((~np.isin(hash_rows(calibration.examples), learned)).sum())
        if strangers:
            raise DataError(
                f"{strangers} of {len(calibration)} calibration rows are none that this model was trained on; give its "
                "own data, whose train split is used"
            )
        return "learned"
    if record is not None:
        raise DataError("this model was trained on other rows than these; give its own data, whose train split is used")
    return "given"


def batch_alike(encoder: Encoder, examples: Sequence[Any]) -> list[dict[str, Array]]:
    """Each example encoded alone, then rows of equal shape put together, at most `TOGETHER`."""
    alike: dict[tuple[tuple[int, ...], ...], list[dict[str, Array]]] = {}
    for example in examples:
        arrays = encoder.encode([example])
        alike.setdefault(tuple(array.shape for array in arrays.values()), []).append(arrays)
    batches = []
    for shape in sorted(alike):
        rows = alike[shape]
        for start in range(0, len(rows), TOGETHER):
            part = rows[start : start + TOGETHER]
            batches.append({name: np.concatenate([row[name] for row in part]) for name in part[0]})
    return batches
