"""Put a trained network into a folder: weights, encoder, golden rows; its log as evidence.

Checkpoints are for resuming and stay out of the artifact; the log (CSV) and the TensorBoard events
are evidence and go in beside it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.classifier import Classifier, save_classifier
from toolkit.data import Data

WORK = "training"
GOLDEN_ROWS = 16


def save_trained(classifier: Classifier, data: Data, folder: Path) -> Artifact:
    """Write `classifier` into the staged `folder`; what `fit` left in `folder/training` becomes evidence."""
    examples = data.split("validation").examples[:GOLDEN_ROWS]
    artifact = save_classifier(classifier, folder, golden_examples=examples)
    keep_log(folder)
    return artifact


def keep_log(folder: Path) -> None:
    """Make evidence of the log that `fit` left in `folder/training`, and remove its checkpoints."""
    work = folder / WORK
    if work.exists():
        for name in ("log.csv", "tensorboard"):
            if (work / name).exists():
                (folder / EVIDENCE).mkdir(exist_ok=True)
                shutil.rmtree(folder / EVIDENCE / name, ignore_errors=True)
                (work / name).rename(folder / EVIDENCE / name)
        shutil.rmtree(work)
