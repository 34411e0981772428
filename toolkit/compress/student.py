"""The net that is to learn from a teacher: layers of the teacher itself, or a new net with its own encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from toolkit.classifier import Classifier
from toolkit.compress.distill import student_from_layers
from toolkit.compress.imitate import Teacher
from toolkit.data import Data
from toolkit.encoders import Encoder
from toolkit.errors import RecipeError
from toolkit.nets.transformer import Transformer
from toolkit.train import prepare_net
from toolkit.train.randomness import reproducible


@dataclass(frozen=True)
class Student:
    """A net and the encoder it reads; `from_teacher` when its layers are the teacher's own."""

    net: nn.Module
    encoder: Encoder
    from_teacher: bool


def choose_student(
    teacher: Teacher,
    data: Data,
    *,
    net: str,
    layers: int | None = None,
    start: str | Path | None = None,
    dropout: float = 0.1,
    seed: int = 0,
) -> Student:
    """A student of kind `net`; with `layers`, that many of a transformer teacher's own, evenly spread.

    Raises `RecipeError` for layers of a net that has none or more layers than the teacher.
    """
    if layers is not None:
        if net != "transformer" or not isinstance(teacher, Classifier) or not isinstance(teacher.net, Transformer):
            raise RecipeError("layers are taken from a trained transformer into a transformer; leave --layers out")
        if start is not None:
            raise RecipeError(f"a student of {layers} layers starts from its teacher; leave --from out, or --layers")
        depth = len(teacher.net.layers)
        if not 1 <= layers <= depth:
            raise RecipeError(f"layers is {layers}; the teacher has {depth}: allowed 1 to {depth}")
        return Student(student_from_layers(teacher, spread(layers, depth)), teacher.encoder, True)
    with reproducible(seed, 1):
        prepared = prepare_net(data, net, start, None, dropout)
    return Student(prepared.net, prepared.encoder, False)


def spread(count: int, depth: int) -> list[int]:
    """`count` of the layers 0 to depth-1, evenly spread, the last one always among them.

    The last layer is the one that the head was trained on; of a single layer it is kept.
    """
    return [int(layer) for layer in np.round(np.linspace(depth / count - 1, depth - 1, count))]
