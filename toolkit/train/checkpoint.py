"""Where a run stands, in one file that appears whole or not at all, and is read without trusting it.

It holds the weights, the optimizer, the position (epoch, batch, step: order of rows and learning rate
are functions of it), the random states of every process, the best weights so far and the log. Only
tensors, numbers, strings and lists: `torch.load(weights_only=True)` reads it and runs no code.
It lies in a working folder and is never part of an artifact. `key` says of which run it is; another
run is refused, never mixed in.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolkit.errors import InputError
from toolkit.staging import write_atomically
from toolkit.train.overfitting import Epoch

CHECKPOINT = "checkpoint.pt"


@dataclass
class Position:
    """How far a run is: `batch` batches of `epoch` are done, `step` steps in all.

    `loss_sum` adds the losses of the epoch's batches so far, `norm_sum` their gradient norms.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    seconds: float = 0.0
    log: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """What `read_checkpoint` found."""

    position: Position
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    random_states: list[dict[str, Any]]


def write_checkpoint(folder: Path, key: str, stored: Stored) -> None:
    """Replace the checkpoint of `folder`."""
    position = {name: value for name, value in vars(stored.position).items() if name != "log"}
    content = {
        "key": key,
        "position": position,
        "log": [vars(row) for row in stored.position.log],
        "weights": stored.weights,
        "optimizer": stored.optimizer,
        "random_states": stored.random_states,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(folder / CHECKPOINT, buffer.getvalue())


def read_checkpoint(folder: Path, key: str) -> Stored | None:
    """The checkpoint of `folder`, None where there is none.

    Raises `InputError` when it is of another run (`key`) or cannot be read.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["key"]
        position = Position(**content["position"], log=[Epoch(**row) for row in content["log"]])
        stored = Stored(position, content["weights"], content["optimizer"], content["random_states"])
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be read ({reason}); remove it to train from the beginning") from None
    if found != key:
        raise InputError(
            f"{path} is of another run (recipe, data, net or number of processes differ); repeat that command "
            "to finish it, or choose another folder"
        )
    return stored
