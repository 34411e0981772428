"""Loss and accuracy of a net on encoded rows, in evaluation mode, shared out over the processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from toolkit.spec import Array
from toolkit.train.batches import Rows
from toolkit.train.losses import CrossEntropy
from toolkit.train.parallel import World

BATCH = 64


@dataclass(frozen=True)
class Score:
    """Weighted mean cross-entropy and the share of rows whose largest logit is their label."""

    loss: float
    accuracy: float


def evaluate(
    net: nn.Module, rows: Rows, criterion: CrossEntropy, world: World, *, only: Array | None = None, bf16: bool = False
) -> Score:
    """Score `net` on all rows, or `only` those numbers; leaves `net` in evaluation mode."""
    chosen = np.arange(len(rows)) if only is None else only
    order = chosen[np.argsort(rows.lengths[chosen], kind="stable")][world.rank :: world.size]
    loss = mass = right = 0.0
    net.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            labels = torch.from_numpy(rows.labels[batch])
            logits = net(*rows.batch(batch)).float()
            weight = criterion.mass(labels)
            loss += float(criterion.of_logits(logits, labels)) * weight
            mass += weight
            right += float((logits.argmax(dim=1) == labels).sum())
    loss, mass, right = world.add(loss, mass, right)
    return Score(loss / mass, right / len(chosen))
