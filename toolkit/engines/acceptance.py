"""Is a fresh engine as good as what it was built from? Asked after every build, since two builds differ.

The same arrays go through ONNX Runtime and the engine. Logits may differ by what the precision of the graph can
round, and where rounding is coarse (8 bits) the rows of a wide margin must keep their labels. It is no judgement of
what the precision costs, which is `verify`'s on test rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from toolkit.errors import GateError
from toolkit.spec import Array, Arrays

# precision of the graph -> largest |difference| of a logit, over the largest |logit| of its row (at least 1).
# float32 sums in another order differ by 1e-6; TF32 and fp16 round to 10 bits, bf16 to 7; 8 bits to what they like
TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1}
COARSE = 0.5


class Runs(Protocol):
    """What is needed of a runner."""

    def run(self, arrays: Arrays) -> Array: ...


def check_engine(reference: Runs, candidate: Runs, batches: Iterable[Arrays], *, precision: str) -> float:
    """The largest relative difference of a logit; raises `GateError` beyond the tolerance of `precision`.

    Beyond it are also: a logit that is no finite number, a label that another margin than rounding decided, and no
    rows to compare.
    """
    allowed = TOLERANCES.get(precision, COARSE)
    largest, rows = 0.0, 0
    for arrays in batches:
        expected, found = reference.run(arrays), candidate.run(arrays)
        if expected.shape != found.shape or not np.isfinite(found).all():
            raise GateError(
                f"the engine answers {found.shape} with {int((~np.isfinite(found)).sum())} values not finite"
            )
        scale = np.maximum(np.abs(expected).max(axis=1), 1.0)
        differences = np.abs(found - expected).max(axis=1) / scale
        ordered = np.sort(expected, axis=1)
        sure = (ordered[:, -1] - ordered[:, -2]) / scale > 2 * allowed
        if (moved := int((found.argmax(axis=1) != expected.argmax(axis=1))[sure].sum())) > 0:
            raise GateError(
                f"the engine gives {moved} of {len(found)} rows another label, by more than {precision} rounds"
            )
        largest, rows = max(largest, float(differences.max())), rows + len(found)
    if not rows:
        raise GateError("an engine was to be compared on no rows; give it some")
    if not largest <= allowed:
        raise GateError(f"logits of the engine differ by {largest:.1e} relative; {allowed:g} is allowed in {precision}")
    return largest
