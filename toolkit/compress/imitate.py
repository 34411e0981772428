"""Train a net to answer like a teacher: the loss and the run that `distill` and `prune` share.

The loss is Hinton's: `alpha` of the divergence between the softened answers, times the square of the
temperature so that its gradients keep their size, and the rest of the ordinary cross-entropy. Noised copies
have no true label, so the cross-entropy is of true rows only. `hidden` and `relations` add
their losses, each in a module of its own.

The teacher has answered each row before the run (`teachers`). Its hidden states are made again in each step:
keeping them would take gigabytes. A teacher twice as deep added 30 to 40 % to the time of a run.

Limit: hidden states and relations need two transformers of ours that read the same tokens; anything else is refused
by name.

Source: Hinton et al. 2015 (arXiv:1503.02531).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.classifier import Classifier
from toolkit.compress.hidden import Matched, hidden_loss
from toolkit.compress.relations import Seen, relation_loss, watch_attention
from toolkit.compress.teachers import Teacher
from toolkit.data import Split
from toolkit.encoders import Encoder, encoder_files
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import digest_of, digest_of_bytes
from toolkit.nets.transformer import Transformer
from toolkit.progress import Progress, silent
from toolkit.spec import Array
from toolkit.train.dropout import set_dropout
from toolkit.train.fit import Fitted, fit
from toolkit.train.losses import CrossEntropy, Loss, make_cross_entropy
from toolkit.train.preparation import sample_rows
from toolkit.train.randomness import reproducible
from toolkit.train.recipes import Recipe

SAMPLE = 256  # rows that a projection of hidden states is fitted on


@dataclass(frozen=True)
class Objective:
    """What a student is asked for; raises `RecipeError` for a value out of its range.

    `temperature` softens both answers, `alpha` is the teacher's share of the loss (1: true labels are not
    looked at), `hidden` adds the hidden-state loss and `relations` that of the last layer's attention relations.
    """

    temperature: float = 2.0
    alpha: float = 0.7
    hidden: bool = False
    relations: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature <= 100.0:
            raise RecipeError(f"temperature is {self.temperature}; allowed: above 0, to 100")
        if not 0.0 <= self.alpha <= 1.0:
            raise RecipeError(f"alpha is {self.alpha}; allowed: 0 to 1, the teacher's share of the loss")


def imitate(
    teacher: Teacher,
    student: nn.Module,
    encoder: Encoder,
    train: Split,
    validation: Split,
    recipe: Recipe,
    *,
    answers: Array,
    objective: Objective,
    true_rows: int | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train `student` in place on `train` and the teacher's `answers` to it, float32 logits (rows, classes).

    The first `true_rows` rows of `train` have true labels (None: all). Raises as `fit` does.
    """
    hard = make_cross_entropy(recipe, train.labels[:true_rows], answers.shape[1])
    net, guide, watched = student, None, None
    true_rows = len(train) if true_rows is None else true_rows
    with ExitStack() as stack:
        if objective.hidden or objective.relations:
            guide = _guide(teacher, student, encoder, "hidden" if objective.hidden else "relations")
        if objective.relations and guide is not None:
            watched = [stack.enter_context(watch_attention(one)) for one in (cast(Transformer, student), guide)]
        if objective.hidden and guide is not None:
            with reproducible(recipe.seed, recipe.resolve().threads):
                net = Matched(cast(Transformer, student), guide)
                net.fit_projections(guide, encode_sample(encoder, train.examples[:true_rows], SAMPLE))
        told = torch.from_numpy(answers.astype(np.float32))
        loss = _make_loss(told, hard, objective, true_rows, guide, watched)
        # what decides the result beyond net, rows and recipe: a checkpoint of another objective must not be resumed
        settings = [asdict(objective), digest_of_bytes(answers.tobytes()), true_rows]
        loss.__qualname__ = f"imitate {digest_of(settings)}"
        fitted = fit(net, encoder, train, validation, recipe, loss=loss, folder=folder, progress=progress)
    set_dropout(student, recipe.dropout)
    return Fitted(**{**vars(fitted), "net": student})


def _make_loss(
    answers: Tensor,
    hard: CrossEntropy,
    objective: Objective,
    true_rows: int,
    guide: Transformer | None,
    watched: Sequence[Seen] | None,
) -> Loss:
    soft_answers = (answers / objective.temperature).log_softmax(dim=1)

    def loss(net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor) -> Tensor:
        apart, states = torch.zeros(()), None
        if objective.hidden:
            logits, states = cast(Matched, net).states(*inputs)
        else:
            logits = net(*inputs)
        if guide is not None:
            with torch.no_grad():
                _, guides = guide.hidden(*inputs)
            if states is not None:
                apart = apart + hidden_loss(states, guides, inputs[1])
            if watched is not None:
                own, theirs = watched
                apart = apart + relation_loss(own.qkv, theirs.qkv, inputs[1])
        softened = (logits.float() / objective.temperature).log_softmax(dim=1)
        soft = functional.kl_div(softened, soft_answers[rows], reduction="batchmean", log_target=True)
        total = objective.alpha * objective.temperature**2 * soft + apart
        true = rows < true_rows
        if objective.alpha < 1.0 and bool(true.any()):
            total = total + (1.0 - objective.alpha) * true.float().mean() * hard.of_logits(logits[true], labels[true])
        return total

    return loss


def encode_sample(encoder: Encoder, examples: Sequence[Any], rows: int) -> tuple[Tensor, ...]:
    """At most `rows` of `examples`, evenly spaced, as the inputs of a net."""
    arrays = encoder.encode(sample_rows(examples, rows))
    return tuple(torch.from_numpy(arrays[declared.name]) for declared in encoder.inputs)


def _guide(teacher: Teacher, student: nn.Module, encoder: Encoder, wanted: str) -> Transformer:
    """The teacher's net, when its hidden states (or relations: `wanted`) can be compared with the student's."""
    words = {"hidden": "hidden states", "relations": "attention relations"}[wanted]
    net = teacher.net if isinstance(teacher, Classifier) else None
    if not isinstance(net, Transformer) or not isinstance(student, Transformer):
        kinds = f"{getattr(net, 'kind', 'an exported model')} to {getattr(student, 'kind', type(student).__name__)}"
        raise InputError(f"{words} go from a trained transformer to a transformer; got {kinds}; leave {wanted} out")
    if encoder_files(encoder) != encoder_files(teacher.encoder):
        raise InputError(
            f"{words} need a student that reads the teacher's tokens, and this one has a tokenizer of its own; "
            f"leave {wanted} out"
        )
    return net.eval()
