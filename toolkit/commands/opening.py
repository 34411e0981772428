"""From what a user types to what a step takes: data in the split that a model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.artifact import Artifact
from toolkit.data import Data
from toolkit.data.loading import data_for
from toolkit.errors import DataError
from toolkit.lineage import SplitRecord
from toolkit.spec import Array, Spec

if TYPE_CHECKING:
    from toolkit.classifier import Classifier


def data_of(
    model: Artifact, reference: str, *, text: str | None = None, label: str | None = None, slices: Sequence[str] = ()
) -> Data:
    """The data `reference`, split as `model` was trained; a foreign file comes whole, as test."""
    return _data(model.spec, model.core.split, model.training_rows(), reference, text=text, label=label, slices=slices)


def data_of_classifier(
    model: Classifier, reference: str, *, text: str | None = None, label: str | None = None, slices: Sequence[str] = ()
) -> Data:
    """As `data_of`, for a Classifier; raises `DataError` unless there are rows to train on."""
    data = _data(model.spec, model.split, model.training_rows, reference, text=text, label=label, slices=slices)
    if "train" not in data.splits:
        raise DataError(f"{reference} is not the data that this model was trained on; give that one to train on")
    return data


def _data(
    spec: Spec,
    record: SplitRecord | None,
    training_rows: Array | None,
    reference: str,
    *,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
) -> Data:
    return data_for(
        reference, record=record, training_rows=training_rows, task=spec.task, text=text, label=label, slices=slices,
        labels=spec.labels,
    )  # fmt: skip
