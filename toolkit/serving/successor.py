"""Is a new version fit to answer in the place of the one that does? Loaded, tried, and compared with it.

Loading checks what an artifact says of itself: digests, signature, golden self-test. This adds what a
swap adds: outputs of the declared shape that are numbers, the same task, labels and inputs, so that no
client is surprised, and the verdict of its own gate. Nothing here looks at live requests.

Limit: a weight that is not a number is seen only where the golden rows or the warm-up touch it; the
rest is refused answer by answer (500 `non_finite_output`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.errors import GateError, ToolkitError
from toolkit.predictor import Predictor
from toolkit.serving.description import evidence
from toolkit.serving.loading import load_served, warm_up_arrays
from toolkit.serving.served import Served
from toolkit.spec import Array, Spec

Load = Callable[[Path], Served]


class Refused(GateError):  # noqa: N818 - what it is, whoever is at fault
    """A new version that is not let in, or a command that cannot be followed now; the old one keeps serving."""


@dataclass(frozen=True)
class Demands:
    """What a new version must hold beside being whole; the defaults let no client be surprised."""

    allow_new_labels: bool = False
    allow_new_inputs: bool = False
    require_gate: bool = False


def open_successor(folder: Path, current: Served, demands: Demands, *, load: Load = load_served) -> Served:
    """Load, try and compare a new version; raises `Refused` with one line, and then leaves nothing open.

    Blocks for as long as loading takes: seconds for a large model. Never call it on an event loop.
    """
    served = open_tried(folder, load=load)
    try:
        check_successor(served, current, demands)
    except BaseException:
        served.predictor.close()
        raise
    return served


def open_tried(folder: Path, *, load: Load = load_served) -> Served:
    """Load an artifact and see that it computes numbers of the declared shape; raises `Refused`."""
    try:
        served = load(folder)
    except Exception as error:  # a hostile file may raise anything; whatever it is, it is not let in
        raise Refused(_one_line(error, folder)) from None
    try:
        for part in served.predictor.parts:
            _check_outputs(part, folder)
    except BaseException as error:
        served.predictor.close()
        if isinstance(error, Exception):
            raise Refused(_one_line(error, folder)) from None
        raise
    return served


def check_successor(new: Served, current: Served, demands: Demands) -> None:
    """Raise `Refused` unless clients of `current` can be answered by `new`, and its gate was passed."""
    where = new.artifact.folder
    if new.spec.task != current.spec.task:
        raise Refused(f"{where} is of the task {new.spec.task}; {current.spec.task} is served here")
    if new.spec.labels != current.spec.labels and not demands.allow_new_labels:
        raise Refused(f"{where} has {_label_change(current.spec, new.spec)}; allow it with --allow-new-labels")
    if (change := input_change(current.spec, new.spec)) and not demands.allow_new_inputs:
        raise Refused(
            f"{where} {change}; clients of the Open Inference Protocol would break; allow it with --allow-new-inputs"
        )
    check_gate(new, required=demands.require_gate)


def check_gate(new: Served, *, required: bool) -> None:
    """Raise `Refused` when its report says that it failed, or, where it is `required`, does not say it passed.

    A report lies outside the digest, so it counts only if it names this one.
    """
    report = evidence(new)
    verdict = report.get("verdict") if report is not None and report.get("digest") == new.artifact.digest else None
    if verdict is None:
        if required:
            raise Refused(f"{new.artifact.folder} has no verdict on this version in evidence/; run toolkit verify")
        return
    # anything but a plain false is a failure: a report that cannot be understood must not open the gate
    if not isinstance(verdict, dict) or verdict.get("failed") is not False:
        raise Refused(f"{new.artifact.folder} failed its gate, says its evidence/report.json; serve another version")


def input_change(current: Spec, new: Spec) -> str | None:
    """What a sender of typed arrays would notice first; None when everything taken now is taken then."""
    was, now = {i.name: i for i in current.inputs}, {i.name: i for i in new.inputs}
    if set(was) != set(now):
        return f"takes {sorted(now)} where {sorted(was)} is taken now"
    for name, declared in was.items():
        if (now[name].dtype, now[name].shape) != (declared.dtype, declared.shape):
            return (
                f"takes {name} as {now[name].dtype} {list(now[name].shape)} where "
                f"{declared.dtype} {list(declared.shape)} is taken now"
            )
    for axis, (low, high) in current.limits.items():
        least, most = new.limits.get(axis, (low, high))
        if least > low or most < high:
            return f"takes {least} to {most} {axis} where {low} to {high} is taken now"
    return None


def _label_change(current: Spec, new: Spec) -> str:
    was, now = set(current.labels), set(new.labels)
    if was == now:
        return "the same labels in another order"
    return f"other labels ({len(now - was)} new, {len(was - now)} gone)"


def _check_outputs(part: Predictor, folder: Path) -> None:
    """Run every size that warm-up runs; raise `Refused` unless logits are finite and one for each label."""
    labels = len(part.spec.labels)
    for arrays in warm_up_arrays(part.spec):
        logits: Array = part.runner.run(arrays)
        # a single column would be spread over all labels without a word
        if logits.shape != (1, labels):
            raise Refused(f"the model in {folder} gives {list(logits.shape)} for one row and {labels} labels")
        if not np.isfinite(logits).all():
            raise Refused(f"the model in {folder} computes something that is not a number")


def _one_line(error: Exception, folder: Path) -> str:
    words = (str(error).splitlines() or [""])[0]
    return words if isinstance(error, ToolkitError) else f"{folder} cannot be loaded: {type(error).__name__}: {words}"
