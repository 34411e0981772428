"""A smaller net that learns to answer like a larger one.

The teacher is anything with logits: a trained classifier of ours, or any exported artifact, whatever its
tokenizer. The student is a net of ours. It pays because the teacher's answer says more than a label (how near
the other classes are), and because the teacher labels as many noised copies as one likes (`transfer`);
on TREC, in one run each, one copy gave a point and hidden states gave none, though a copy doubles the steps.
Unlabeled rows of the user's own go into the same set. It costs one answer of the teacher a row, then training.

A student is a new network: its lineage is the teacher's, as far as it led to a trained net, and one step.
Limit: it learns nothing that its teacher gets wrong everywhere.

Source: Hinton et al. 2015 (arXiv:1503.02531); the loss is in `imitate`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from toolkit.classifier import Classifier, copy_net
from toolkit.compress.imitate import Objective, imitate
from toolkit.compress.teachers import Teacher, digest_of_teacher, digest_of_weights, teacher_answers
from toolkit.compress.transfer_set import make_transfer_set
from toolkit.data import Data, Split, hash_rows
from toolkit.encoders import Encoder
from toolkit.errors import DataError, InputError
from toolkit.lineage import SplitRecord, Step
from toolkit.nets import describe_net
from toolkit.progress import Progress, silent
from toolkit.spec import Array, Spec
from toolkit.train import Trained, rows_learned_from
from toolkit.train.recipes import Recipe

MASKS = ("[MASK]", "<mask>")
PLAIN = Objective()


def distill(
    teacher: Teacher,
    data: Data,
    *,
    student: nn.Module,
    encoder: Encoder,
    recipe: Recipe,
    objective: Objective = PLAIN,
    copies: int = 0,
    unlabeled: Sequence[Any] = (),
    inherited: Mapping[str, Any] | None = None,
    answers_folder: Path | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train a copy of `student` (an untrained or initialized net, reading `encoder`) to imitate `teacher`.

    `copies` noised examples of each training row and the `unlabeled` rows are added, labelled by the teacher;
    of those, rows that are validation, test or training rows are dropped (`transfer_set`). `inherited` is what the
    student has of its teacher already (`Student.inherited`), for the lineage. `folder` as in `train`; the teacher's
    answers are kept in `answers_folder`, which several students may share (None: in `folder`).
    Raises `InputError` when labels differ or hidden states cannot be compared, `DataError` when `data` was
    split otherwise than the teacher's, `RecipeError` for a setting out of its range.
    """
    _check_student(student, data)
    check_data(teacher, data)
    recipe = recipe.resolve()
    true, validation = data.split("train"), data.split("validation")
    mask = _mask_known_to(teacher.encoder, encoder)
    extra = make_transfer_set(data, copies=copies, unlabeled=unlabeled, seed=recipe.seed, mask=mask)
    answers = teacher_answers(
        teacher, true.examples, more=extra.parts, folder=answers_folder or folder, threads=recipe.threads,
        progress=progress,
    )  # fmt: skip
    examples = [*true.examples, *itertools.chain.from_iterable(extra.parts)]
    labels = np.concatenate([true.labels, answers[len(true) :].argmax(axis=1).astype(np.int64)])
    fitted = imitate(
        teacher,
        copy_net(student),
        encoder,
        Split(examples, labels),
        validation,
        recipe,
        answers=answers,
        objective=objective,
        true_rows=len(true),
        folder=folder,
        progress=progress,
    )
    settings = {
        "teacher": digest_of_teacher(teacher),
        **asdict(objective),
        "copies": copies,
        "unlabeled": len(extra.unlabeled),
        "unlabeled_dropped": {"validation_or_test": extra.held_out, "repeated": extra.repeated},
        "student": describe_net(fitted.net),
        "inherited": None if inherited is None else dict(inherited),
        "student_start": digest_of_weights(student),
        "recipe": recipe.to_json(),
        "epochs_run": fitted.epochs_run,
        "best_epoch": fitted.best_epoch,
        "warnings": list(fitted.warnings),
    }
    steps, parent, learned = _lineage_of(teacher)
    rows = np.union1d(rows_learned_from(data), hash_rows(extra.unlabeled))
    classifier = Classifier(
        name=f"{data.name}-{student.kind}",
        net=fitted.net,
        spec=Spec(data.task, encoder.inputs, data.labels, encoder.limits),
        encoder=encoder,
        steps=(*steps, Step("distill", settings)),
        split=data.record(),
        parent=parent,
        training_rows=rows if learned is None else np.union1d(rows, learned),
    )
    return Trained(classifier, fitted, fitted.warnings)


def check_data(teacher: Teacher, data: Data) -> None:
    """Raise `InputError` or `DataError` when a student of `teacher` cannot be trained and judged on `data`."""
    if teacher.spec.task != data.task or teacher.spec.labels != data.labels:
        raise InputError(
            f"the teacher answers {', '.join(teacher.spec.labels[:6])} ({teacher.spec.task}) and {data.name} has "
            f"{', '.join(data.labels[:6])} ({data.task}); give the data that it was trained on"
        )
    known = _split_of(teacher)
    if known is not None and known.source == data.source and known.digests != data.record().digests:
        raise DataError(
            f"{data.name} is split by seed {data.seed} and the teacher learned from the split of seed {known.seed}; "
            "its training rows would judge its student: use its split"
        )


def _check_student(student: nn.Module, data: Data) -> None:
    labels = describe_net(student)["sizes"].get("labels")
    if labels != len(data.labels):
        raise InputError(f"the student answers {labels} labels and {data.name} has {len(data.labels)}")


def _split_of(teacher: Teacher) -> SplitRecord | None:
    if isinstance(teacher, Classifier):
        return teacher.split
    return teacher.artifact.core.split if teacher.artifact is not None else None


def _lineage_of(teacher: Teacher) -> tuple[tuple[Step, ...], str | None, Array | None]:
    """Steps (without those of a file: a student is a network again), digest and training rows of the teacher."""
    if isinstance(teacher, Classifier):
        return teacher.steps, teacher.parent, teacher.training_rows
    if teacher.artifact is None:
        return (), None, None
    steps = itertools.takewhile(lambda step: step.name != "export", teacher.artifact.core.steps)
    return tuple(steps), teacher.artifact.digest, teacher.artifact.training_rows()


def _mask_known_to(*encoders: Encoder) -> str | None:
    """The mask token that every one of `encoders` has; None when there is none, and words are dropped."""
    tokenizers = [cast(Any, getattr(encoder, "tokenizer", None)) for encoder in encoders]
    if None in tokenizers:
        return None
    return next((mask for mask in MASKS if all(t.token_to_id(mask) is not None for t in tokenizers)), None)
