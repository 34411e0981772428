"""Real cascades for tests: softmax regressions on digits, the small one fitted on few rows and in INT8."""

from __future__ import annotations

from pathlib import Path

from digits_models import TRAIN_ROWS, digits, make_artifact, make_int8_artifact

from toolkit.artifact import Artifact
from toolkit.compress.cascade import cascade
from toolkit.data import Split

FEW_ROWS = 40


def validation_rows() -> Split:
    """200 rows that no member was trained on; `held_out` begins with them too, and tests may use the rest."""
    pictures, labels = digits()
    return Split(pictures[TRAIN_ROWS : TRAIN_ROWS + 200], labels[TRAIN_ROWS : TRAIN_ROWS + 200])


def unseen_rows(rows: int = 40) -> Split:
    """Rows that neither a member nor the threshold has seen."""
    pictures, labels = digits()
    return Split(pictures[1400 : 1400 + rows], labels[1400 : 1400 + rows])


def make_cascade(folder: Path, *, share: float = 0.3, int8: bool = False) -> Artifact:
    """A cascade in `folder`, its members in folders beside it; `int8` gives it a dynamic INT8 small member."""
    make_small = make_int8_artifact if int8 else make_artifact
    small = make_small(folder.parent / f"{folder.name}-small", training_rows=FEW_ROWS)
    large = make_artifact(folder.parent / f"{folder.name}-large")
    return cascade(small, large, folder, validation=validation_rows(), share=share, name="digits-cascade")
