"""The net that is to learn from a teacher: layers of the teacher itself, or a new net.

A new net that reads tokens reads the teacher's, when the teacher has a tokenizer (hidden states and relations
can be compared then, and its token vectors inherited); an mlp reads n-grams; `start` brings a tokenizer of its own.
What can be taken over from the teacher is (`inherit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from toolkit.classifier import Classifier
from toolkit.compress.inherit import inherit
from toolkit.compress.student_sizes import for_each, new_sizes
from toolkit.compress.teachers import Teacher
from toolkit.data import Data
from toolkit.encoders import Encoder
from toolkit.encoders.text import TokenEncoder
from toolkit.errors import InputError, RecipeError
from toolkit.nets import build_net, describe_net
from toolkit.nets.transformer import Transformer
from toolkit.train import check_net, prepare_net
from toolkit.train.preparation import choose_sizes
from toolkit.train.randomness import reproducible
from toolkit.train.texts import SIZES


@dataclass(frozen=True)
class Student:
    """A net and the encoder it reads; `from_teacher` when its layers are the teacher's, whole or narrowed.

    `inherited` says what else it has of the teacher's, for the lineage; None: nothing could be or was to be taken.
    """

    net: nn.Module
    encoder: Encoder
    from_teacher: bool
    inherited: Mapping[str, Any] | None = None


def choose_student(
    teacher: Teacher,
    data: Data,
    *,
    net: str,
    layers: int | None = None,
    start: str | Path | None = None,
    sizes: Mapping[str, Any] | None = None,
    dropout: float = 0.1,
    seed: int = 0,
) -> Student:
    """A student of kind `net`, in sizes of the net's own names; what is left out has the net's default.

    A transformer's `heads` and `feed_forward` and a textcnn's `filters` may be one number for all. With `layers` it has
    that many, of a transformer teacher evenly spread, and what `sizes` leaves out is the teacher's. `sizes` with a
    "vocabulary" has a tokenizer trained on the data in place of the teacher's. Raises `RecipeError` for a size
    or layers that the net or the teacher does not have.
    """
    check_net(data.task, net, start)
    if layers is not None:
        if net != "transformer":
            raise RecipeError(f"layers are of a transformer, and the student is of kind {net}; leave --layers out")
        if start is not None:
            raise RecipeError(f"a student of {layers} layers starts from its teacher; leave --from out, or --layers")
    sizes = dict(sizes or {})
    given = teacher.net if isinstance(teacher, Classifier) else None
    with reproducible(seed, 1):
        if layers is not None and isinstance(given, Transformer) and isinstance(teacher, Classifier):
            depth = len(given.layers)
            if not 1 <= layers <= depth:
                raise RecipeError(f"layers is {layers}; the teacher has {depth}: allowed 1 to {depth}")
            chosen = spread(layers, depth)
            if not sizes:
                inherited = {"layers": chosen, "all": "copied"}
                return Student(student_from_layers(teacher, chosen), teacher.encoder, True, inherited)
            return _inherited(_of_layers(given, teacher.encoder, chosen, sizes, dropout), teacher, data, chosen)
        if start is None:
            sizes = new_sizes(net, sizes, layers)
        if start is None and net in SIZES and isinstance(teacher.encoder, TokenEncoder) and "vocabulary" not in sizes:
            made = _reader_of_tokens(net, teacher, len(data.labels), sizes, dropout)
            return _inherited(made, teacher, data, _layers_for(made, given))
        prepared = prepare_net(data, net, start, sizes, dropout)
    return Student(prepared.net, prepared.encoder, False)


def student_from_layers(classifier: Classifier, layers: Sequence[int]) -> Transformer:
    """A shallower copy of a transformer: its embeddings, the layers of these numbers (from 0), its head.

    Raises `InputError` for another kind of net, `RecipeError` for layers that it does not have.
    """
    net = classifier.net
    if not isinstance(net, Transformer):
        raise InputError(f"layers are taken from a transformer; this is {describe_net(net)['kind']}")
    depth = len(net.layers)
    if not layers or list(layers) != sorted(set(layers)) or not 0 <= min(layers) <= max(layers) < depth:
        raise RecipeError(f"layers are {list(layers)}; allowed: rising numbers from 0 to {depth - 1}, each once")
    sizes = replace(
        net.sizes,
        heads=tuple(net.sizes.heads[layer] for layer in layers),
        feed_forward=tuple(net.sizes.feed_forward[layer] for layer in layers),
    )
    student = Transformer(sizes)
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("layers.")}
    for place, layer in enumerate(layers):
        for name, tensor in net.layers[layer].state_dict().items():
            state[f"layers.{place}.{name}"] = tensor
    student.load_state_dict(state)
    return student.eval()


def spread(count: int, depth: int) -> list[int]:
    """`count` of the layers 0 to depth-1, evenly spread, the last one always among them.

    The last layer is the one that the head was trained on; of a single layer it is kept.
    """
    return [int(layer) for layer in np.round(np.linspace(depth / count - 1, depth - 1, count))]


def _of_layers(
    teacher: Transformer, encoder: Encoder, layers: Sequence[int], sizes: Mapping[str, Any], dropout: float
) -> Student:
    """A new transformer of the teacher's sizes at `layers`, `sizes` over them; no more positions than are ever read."""
    own = teacher.sizes
    defaults = {
        "width": own.width,
        "heads": tuple(own.heads[layer] for layer in layers),
        "head_width": own.head_width,
        "feed_forward": tuple(own.feed_forward[layer] for layer in layers),
        "positions": min(own.positions, encoder.limits["length"][1]),
    }
    chosen = choose_sizes("a student of the teacher's layers", defaults, for_each("transformer", sizes, len(layers)))
    # a factorized table stays one, unless the student is no wider than it
    embedding = own.embedding if own.embedding is not None and own.embedding < chosen["width"] else None
    described = {**describe_net(teacher)["sizes"], "embedding": embedding}
    return Student(build_net("transformer", {**described, **chosen, "dropout": dropout}), encoder, False)


def _reader_of_tokens(kind: str, teacher: Teacher, labels: int, sizes: Mapping[str, Any], dropout: float) -> Student:
    """A new net of `kind` that reads the teacher's tokens."""
    encoder = teacher.encoder
    assert isinstance(encoder, TokenEncoder)
    net = teacher.net if isinstance(teacher, Classifier) else None
    defaults = dict(SIZES[kind])
    described: dict[str, Any] = {"vocabulary": encoder.vocabulary_size, "labels": labels, "dropout": dropout}
    table = getattr(net, "tokens", None)
    if isinstance(table, nn.Embedding):
        described["vocabulary"] = table.num_embeddings  # a checkpoint's table may be longer than its vocabulary
    if kind == "transformer":
        described["positions"] = encoder.max_length
        if isinstance(net, Transformer):
            # what a layer of it must have in common with the teacher's to be made from it
            defaults["head_width"] = net.sizes.head_width
            described.update(activation=net.sizes.activation, norm_eps=net.sizes.norm_eps, pooling=net.sizes.pooling)
    chosen = choose_sizes(f"a {kind} that reads the teacher's tokens", defaults, sizes)
    return Student(build_net(kind, {**chosen, **described}), encoder, False)


def _inherited(made: Student, teacher: Teacher, data: Data, layers: Sequence[int]) -> Student:
    """`made` with what it can take from the teacher, which its net is overwritten by."""
    if not isinstance(teacher, Classifier):
        return made
    record = inherit(made.net, teacher, data.split("train").examples, layers)
    taken = isinstance(made.net, Transformer) and ("all" in record or isinstance(record.get("layers"), list))
    return Student(made.net.eval(), made.encoder, taken, record)


def _layers_for(made: Student, teacher: nn.Module | None) -> list[int]:
    """Layers of the teacher that those of a new transformer are made from; none where it has too few."""
    if not isinstance(made.net, Transformer) or not isinstance(teacher, Transformer):
        return []
    count, depth = len(made.net.layers), len(teacher.layers)
    return spread(count, depth) if count <= depth else []
