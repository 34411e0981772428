"""What the commands that train have in common once the network is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from toolkit import terminal
from toolkit.artifact import Artifact
from toolkit.classifier import Classifier
from toolkit.data import Data
from toolkit.train import Trained
from toolkit.train.saving import save_trained


def finish_training(trained: Trained, data: Data, partial: Path, *, name: str) -> Artifact:
    """Save what was trained under the name that the user gave its folder."""
    return save_trained(replace(trained.classifier, name=name), data, partial)


def print_warnings(warnings: Iterable[str]) -> None:
    """Each warning on its own line: never swallowed, never a traceback."""
    for warning in warnings:
        terminal.say(f"warning: {warning}")


def report_smaller(
    before: Classifier | Artifact, trained: Trained, artifact: Artifact, out: Path, *, as_json: bool
) -> None:
    """Say what a step that made a net smaller did, and what comes next."""
    print_warnings(trained.warnings)
    size, accuracy = trained.classifier.parameters, trained.fitted.validation_accuracy
    was = f", was {before.parameters:,}" if isinstance(before, Classifier) else ""
    terminal.say(f"{out}: {size:,} parameters{was}; validation accuracy {accuracy:.1%}, {trained.fitted.seconds:.0f} s")
    terminal.say(f"next: toolkit export {out} -o {out}-onnx")
    document = {
        "folder": str(out), "digest": artifact.digest, "parameters": size, "size_bytes": artifact.size_bytes,
        "validation": {"accuracy": {"value": accuracy}}, "warnings": list(trained.warnings),
        "seconds": round(trained.fitted.seconds, 1),
    }  # fmt: skip
    terminal.emit(document, as_json=as_json)
