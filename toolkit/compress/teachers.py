"""The one who is imitated: an artifact's predictor or a classifier in memory, its answers, and how good a net is.

A teacher answers each row once, in fp32, before a run. Answers are kept in a folder by the content of the rows and the
digest of the teacher, so that a resumed run finds them, and another student does.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from toolkit.classifier import Classifier
from toolkit.data import Split, hash_rows
from toolkit.lineage import digest_of, digest_of_bytes
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.runners.torch import TorchRunner
from toolkit.spec import Array
from toolkit.staging import write_atomically
from toolkit.train.fit import Fitted
from toolkit.train.randomness import reproducible

Teacher = Predictor | Classifier
ANSWERS = "teacher.npy"
CHUNK = 2048


def teacher_answers(
    teacher: Teacher,
    examples: Sequence[Any],
    *,
    more: Sequence[Sequence[Any]] = (),
    folder: Path | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Array:
    """Logits float32 (examples, classes) of the teacher, then of the parts `more`, in their order.

    Each part is kept in `folder` by its content and the teacher's, where a resumed run finds it, and another
    student's; those of a predictor without an artifact are not, since nothing says which it is.
    """
    parts, predictor, before = [examples, *more], None, torch.get_num_threads()
    done, total = 0, sum(len(part) for part in parts)
    digest = digest_of_teacher(teacher)
    answers: list[Array] = []
    try:
        for part in parts:
            key = digest_of([digest, digest_of_bytes(hash_rows(part).tobytes())])
            path = None if folder is None or not digest else folder / f"{key[:16]}.{ANSWERS}"
            if path is not None and path.is_file():
                answers.append(np.load(path, allow_pickle=False))
                done += len(part)
                continue
            predictor = predictor or as_predictor(teacher, threads=threads)
            chunks = []
            for start in range(0, len(part), CHUNK):
                chunks.append(predictor.logits(part[start : start + CHUNK]))
                reached = done + min(start + CHUNK, len(part))
                progress("teacher", reached, total, "the teacher answers the training rows")
            answers.append(np.concatenate(chunks))
            done += len(part)
            if path is not None:
                buffer = io.BytesIO()
                np.save(buffer, answers[-1], allow_pickle=False)
                write_atomically(path, buffer.getvalue())
    finally:
        torch.set_num_threads(before)  # the runner of a classifier sets it
    result: Array = np.concatenate(answers)
    return result


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


def measure_untrained(classifier: Classifier, net: nn.Module, validation: Split, threads: int) -> Fitted:
    """What a training would return had there been none: `net` as it is, and how it does on the validation rows."""
    with reproducible(0, threads):
        logits = as_predictor(replace(classifier, net=net), threads=threads).logits(validation.examples)
    accuracy = float((logits.argmax(axis=1) == validation.labels).mean())
    return Fitted(net.eval(), 0, 0, (), (), accuracy, 0.0)
