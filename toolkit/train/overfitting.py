"""Learning by heart, noticed: two rules on the log of a run, each with its reason.

Both compare rows that were trained on with rows that were not, measured alike (evaluation mode, equally
many rows), so that dropout and averages over a moving net do not blur the gap. Chance is the share of
the commonest class in validation.

1. *Not carried over*: the net is above chance by a on rows it saw and by b on rows it did not, and b is
   less than `CARRIED` of a. A small gap on little data is no alarm: a must be at least `LEARNED`, and the
   gap more than two standard errors. Labels that mean nothing give b near 0 at any a.
2. *Loss turned*: since its lowest, validation loss rose by more than `TURNED` of it while the loss on rows
   seen fell to less than half: the net grows surer of its mistakes. Kept weights may still be good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CARRIED, LEARNED, TURNED = 0.5, 0.2, 1.0


@dataclass(frozen=True)
class Epoch:
    """One row of the log. `train_*` and `validation_*` are measured after the epoch, in evaluation mode,
    on equally many rows; `loss` is the mean of what was minimized during it."""

    epoch: int
    step: int
    learning_rate: float
    loss: float
    gradient_norm: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


def watch_overfitting(log: Sequence[Epoch], *, chance: float, rows: int) -> tuple[str, ...]:
    """The warnings that `log` gives, judged at its last epoch; `rows` is how many each accuracy was measured on."""
    if not log:
        return ()
    last, warnings = log[-1], []
    learned, carried = last.train_accuracy - chance, last.validation_accuracy - chance
    spread = last.train_accuracy * (1 - last.train_accuracy) + last.validation_accuracy * (1 - last.validation_accuracy)
    significant = learned - carried > 2 * math.sqrt(spread / max(rows, 1))
    if learned >= LEARNED and carried < CARRIED * learned and significant:
        warnings.append(
            f"overfitting: {last.train_accuracy:.1%} right on rows seen and {last.validation_accuracy:.1%} on rows not "
            f"seen, where always answering the commonest class gives {chance:.1%}; check the labels, add rows, or "
            "raise dropout and weight_decay"
        )
    best = min(log, key=lambda row: row.validation_loss)
    if last.validation_loss > (1 + TURNED) * best.validation_loss and last.train_loss < best.train_loss / 2:
        warnings.append(
            f"overfitting: validation loss rose from {best.validation_loss:.3f} (epoch {best.epoch}) to "
            f"{last.validation_loss:.3f} while the loss on rows seen fell from {best.train_loss:.3f} to "
            f"{last.train_loss:.3f}; use fewer epochs or label_smoothing"
        )
    return tuple(warnings)
