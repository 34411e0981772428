"""What the tests of compression are made of: data, a small classifier trained on it, and its export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.artifact import Artifact
from toolkit.classifier import Classifier
from toolkit.data import Data
from toolkit.export.onnx import export
from toolkit.train import train
from toolkit.train.recipes import Recipe, default_recipe

TRANSFORMER = {"width": 64, "heads": (4, 4, 4), "head_width": 16, "feed_forward": (128, 128, 128), "vocabulary": 2000}
LSTM = {"width": 64, "hidden": 64, "vocabulary": 2000}
ROWS = {"train": 700, "validation": 120, "test": 300}


@dataclass(frozen=True)
class Sample:
    """Data, a classifier trained on it, and its export."""

    data: Data
    classifier: Classifier
    artifact: Artifact


def short_recipe(net: str, **changes: Any) -> Recipe:
    return replace(default_recipe(net), **{"epochs": 2, "threads": 1, "precision": "fp32", "patience": 0, **changes})


def make_sample(data: Data, folder: Path, net: str, sizes: Mapping[str, Any] | None, **changes: Any) -> Sample:
    classifier = train(data, net=net, sizes=sizes, recipe=short_recipe(net, **changes)).classifier
    folder.mkdir()
    artifact, _ = export(classifier, folder, examples=data.split("validation").examples)
    return Sample(data, classifier, artifact)
