"""The log of a run: `log.csv`, one row an epoch, and TensorBoard events beside it.

The CSV is written whole each time from the rows that the checkpoint keeps, so a run that was killed and
resumed has each epoch once. TensorBoard is told which step a resumed run starts at (`purge_step`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from toolkit.errors import require
from toolkit.staging import write_atomically
from toolkit.train.overfitting import Epoch

CSV, EVENTS = "log.csv", "tensorboard"


def read_log(folder: Path) -> tuple[Epoch, ...]:
    """The epochs that a run in `folder` has finished so far, () before the first; safe while it runs.

    Who watches a run from its `progress` sees here how it does, and may end it by raising: it can be resumed.
    """
    path = folder / CSV
    if not path.is_file():
        return ()
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    counts = ("epoch", "step")
    return tuple(
        Epoch(int(row["epoch"]), int(row["step"]), **{k: float(v) for k, v in row.items() if k not in counts})
        for row in rows
    )


class Logbook:
    """Writes into `folder`, or nowhere when it is None; `step` is the number of steps already done."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self.folder = folder
        self._writer: Any = None
        if folder is not None:
            require("tensorboard", extra="train")
            tensorboard = require("torch.utils.tensorboard", extra="train")
            self._writer = tensorboard.SummaryWriter(str(folder / EVENTS), purge_step=step or None)

    def step(self, step: int, **values: float) -> None:
        """Numbers of one step, TensorBoard only."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"step/{name}", value, step)

    def epoch(self, log: Sequence[Epoch]) -> None:
        """The log so far; its last row is new."""
        if self.folder is None:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in log)
        write_atomically(self.folder / CSV, text.getvalue().encode())
        for name, value in asdict(log[-1]).items():
            if name not in ("epoch", "step"):
                self._writer.add_scalar(f"epoch/{name}", value, log[-1].step)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
