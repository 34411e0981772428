"""What the commands that train have in common once the network is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from toolkit import terminal
from toolkit.artifact import Artifact
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
