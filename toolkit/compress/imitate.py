"""Train a net to answer like a teacher: the loss and the run that `distill` and `prune` share.

The loss is Hinton's: `alpha` of the divergence between the softened answers, times the square of the
temperature so that its gradients keep their size, and the rest of the ordinary cross-entropy. Noised copies
have no true label, so the cross-entropy is of true rows only. With `hidden`, each of the student's layers is
pulled to the teacher's layer at the same relative depth; where widths differ a learned matrix stands
between them, trained along and dropped.

The teacher answers each row once, in fp32, before the run. Its hidden states are made again in each step:
keeping them would take gigabytes. A teacher twice as deep added 30 to 40 % to the time of a run.

Limit: hidden states need two transformers of ours that read the same tokens; anything else is refused by name.

Source: Hinton et al. 2015 (arXiv:1503.02531); Jiao et al. 2020, TinyBERT (arXiv:1909.10351) for hidden states.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.classifier import Classifier
from toolkit.data import Split, hash_rows
from toolkit.encoders import Encoder, encoder_files
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import digest_of, digest_of_bytes
from toolkit.nets.transformer import Transformer
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.runners.torch import TorchRunner
from toolkit.spec import Array
from toolkit.staging import write_atomically
from toolkit.train.dropout import set_dropout
from toolkit.train.fit import Fitted, fit
from toolkit.train.losses import CrossEntropy, Loss, make_cross_entropy
from toolkit.train.recipes import Recipe

Teacher = Predictor | Classifier
ANSWERS = "teacher.npy"
CHUNK = 2048


@dataclass(frozen=True)
class Objective:
    """What a student is asked for; raises `RecipeError` for a value out of its range.

    `temperature` softens both answers, `alpha` is the teacher's share of the loss (1: true labels are not
    looked at), `hidden` adds the hidden-state loss.
    """

    temperature: float = 2.0
    alpha: float = 0.7
    hidden: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature <= 100.0:
            raise RecipeError(f"temperature is {self.temperature}; allowed: above 0, to 100")
        if not 0.0 <= self.alpha <= 1.0:
            raise RecipeError(f"alpha is {self.alpha}; allowed: 0 to 1, the teacher's share of the loss")


class Matched(nn.Module):
    """A student with the matrices that carry its hidden states to the teacher's width; answers as the student."""

    def __init__(self, student: Transformer, teacher: Transformer) -> None:
        super().__init__()
        self.student = student
        narrow, wide = student.sizes.width, teacher.sizes.width
        count = 0 if narrow == wide else len(student.layers) + 1
        self.projections = nn.ModuleList([nn.Linear(narrow, wide, bias=False) for _ in range(count)])

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.student(*inputs)
        return logits

    def states(self, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The student's logits, and its hidden states (batch, length, teacher's width)."""
        logits, states = self.student.hidden(*inputs)
        if len(self.projections):
            states = [project(state) for project, state in zip(self.projections, states, strict=True)]
        return logits, states


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
    net = student
    guide = None
    if objective.hidden:
        guide = _guide(teacher, student, encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            net = Matched(cast(Transformer, student), guide)
    true_rows = len(train) if true_rows is None else true_rows
    loss = _make_loss(torch.from_numpy(answers.astype(np.float32)), hard, objective, true_rows, guide)
    # what decides the result beyond net, rows and recipe: a checkpoint of another objective must not be resumed
    settings = [asdict(objective), digest_of_bytes(answers.tobytes()), true_rows]
    loss.__qualname__ = f"imitate {digest_of(settings)}"
    fitted = fit(net, encoder, train, validation, recipe, loss=loss, folder=folder, progress=progress)
    set_dropout(student, recipe.dropout)
    return Fitted(**{**vars(fitted), "net": student})


def teacher_answers(
    teacher: Teacher,
    examples: Sequence[Any],
    *,
    folder: Path | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Array:
    """Logits float32 (examples, classes) of the teacher; kept in `folder`, where a resumed run finds them."""
    key = digest_of([digest_of_teacher(teacher), digest_of_bytes(hash_rows(examples).tobytes())])
    path = None if folder is None else folder / f"{key[:16]}.{ANSWERS}"
    if path is not None and path.is_file():
        found: Array = np.load(path, allow_pickle=False)
        return found
    predictor, before = as_predictor(teacher, threads=threads), torch.get_num_threads()
    parts = []
    for start in range(0, len(examples), CHUNK):
        parts.append(predictor.logits(examples[start : start + CHUNK]))
        progress("teacher", min(start + CHUNK, len(examples)), len(examples), "the teacher answers the training rows")
    torch.set_num_threads(before)
    answers: Array = np.concatenate(parts)
    if path is not None:
        buffer = io.BytesIO()
        np.save(buffer, answers, allow_pickle=False)
        write_atomically(path, buffer.getvalue())
    return answers


def as_predictor(teacher: Teacher, *, threads: int) -> Predictor:
    """The teacher as one who takes raw examples; a classifier is run by eager PyTorch."""
    if isinstance(teacher, Predictor):
        return teacher
    return Predictor(teacher.encoder, TorchRunner(teacher, threads=threads), teacher.spec)


def digest_of_teacher(teacher: Teacher) -> str:
    """The digest of the teacher's artifact, or of the weights of a classifier in memory."""
    if isinstance(teacher, Predictor):
        return teacher.artifact.digest if teacher.artifact is not None else ""
    return digest_of_weights(teacher.net)


def digest_of_weights(net: nn.Module) -> str:
    """sha256 over the names and bytes of a net's weights and buffers."""
    state = sorted(net.state_dict().items())
    return digest_of([[name, digest_of_bytes(tensor.contiguous().numpy().tobytes())] for name, tensor in state])


def _make_loss(
    answers: Tensor, hard: CrossEntropy, objective: Objective, true_rows: int, guide: Transformer | None
) -> Loss:
    soft_answers = (answers / objective.temperature).log_softmax(dim=1)

    def loss(net: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, rows: Tensor) -> Tensor:
        apart = torch.zeros(())
        if guide is None:
            logits = net(*inputs)
        else:
            logits, states = cast(Matched, net).states(*inputs)
            with torch.no_grad():
                _, guides = guide.hidden(*inputs)
            apart = hidden_loss(states, guides, inputs[1])
        softened = (logits.float() / objective.temperature).log_softmax(dim=1)
        soft = functional.kl_div(softened, soft_answers[rows], reduction="batchmean", log_target=True)
        total = objective.alpha * objective.temperature**2 * soft + apart
        true = rows < true_rows
        if objective.alpha < 1.0 and bool(true.any()):
            total = total + (1.0 - objective.alpha) * true.float().mean() * hard.of_logits(logits[true], labels[true])
        return total

    return loss


def hidden_loss(states: Sequence[Tensor], guides: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
    """Mean squared distance of the student's states to the teacher's at the same relative depth, padding left out.

    `states` and `guides` are the embedding output and each layer's, (batch, length, width).
    """
    kept = attention_mask.unsqueeze(-1).float()
    depth, full = len(states) - 1, len(guides) - 1
    total = torch.zeros(())
    for index, state in enumerate(states):
        apart = (state.float() - guides[round(index * full / depth)].float()) ** 2
        total = total + (apart * kept).sum() / (kept.sum() * state.shape[-1])
    return total / len(states)


def _guide(teacher: Teacher, student: nn.Module, encoder: Encoder) -> Transformer:
    """The teacher's net, when its hidden states can be compared with the student's."""
    net = teacher.net if isinstance(teacher, Classifier) else None
    if not isinstance(net, Transformer) or not isinstance(student, Transformer):
        kinds = f"{getattr(net, 'kind', 'an exported model')} to {getattr(student, 'kind', type(student).__name__)}"
        raise InputError(f"hidden states go from a trained transformer to a transformer; got {kinds}; leave hidden out")
    if encoder_files(encoder) != encoder_files(teacher.encoder):
        raise InputError(
            "hidden states need a student that reads the teacher's tokens, and this one has a tokenizer of its own; "
            "leave hidden out"
        )
    return net.eval()
