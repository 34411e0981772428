"""A smaller net that begins as its teacher, narrowed, where shapes allow; it only has to learn what was lost.

Token vectors are projected to the student's width along their principal components, each token weighted by
how often the training rows use it. A transformer's residual stream is projected the same way, along the principal
components of the teacher's own states on training rows, and every matrix that reads or writes the stream with it
(`narrow` has the layers). What has the same shape is copied as it is, so a student of its teacher's sizes is
its teacher.

It costs one pass of the teacher over a few hundred rows. On 1,500 rows of TREC, one run each, equal epochs:
3x256 of MiniLM reached 85.5 % of validation rows and 71.2 % from random weights, an lstm 75.1 and 67.2, a textcnn
71.1 and 58.4. Limit: nothing is inherited by a student that is wider
than its teacher, reads other tokens or has another width of heads; an lstm and a textcnn take token vectors only. Of a
teacher with a factorized table those are its lifted vectors; a student keeps such a table as long as it is wider.

Source: Jolliffe 2002 for principal components; Mukherjee and Awadallah 2020, XtremeDistil (arXiv:2004.05686),
which starts a student from its teacher's embeddings, compressed by their singular values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.classifier import Classifier
from toolkit.compress.imitate import encode_sample
from toolkit.compress.narrow import narrow_transformer, principal_components, why_not_narrowed
from toolkit.encoders import Encoder
from toolkit.nets import describe_net
from toolkit.nets.transformer import Transformer
from toolkit.train.preparation import sample_rows
from toolkit.train.texts import SPREAD

ROWS = 256  # whose states a transformer is projected along


def inherit(student: nn.Module, teacher: Classifier, texts: Sequence[str], layers: Sequence[int]) -> dict[str, Any]:
    """Overwrite in `student`, a new net that reads the tokens of `teacher`, what it can take from it.

    `texts` are the training rows; `layers` are the teacher's layers that a transformer's are made from. Returns
    what was inherited, as JSON for the lineage: "nothing" has the reason where there is none.
    """
    if _sizes(student) == _sizes(teacher.net):
        student.load_state_dict(teacher.net.state_dict())
        return {"all": "copied"}
    theirs, own = getattr(teacher.net, "tokens", None), getattr(student, "tokens", None)
    if not isinstance(theirs, nn.Embedding) or not isinstance(own, nn.Embedding):
        return {"nothing": f"a {_kind(teacher.net)} has no token vectors that a {_kind(student)} could take"}
    table = (teacher.net.token_vectors() if isinstance(teacher.net, Transformer) else theirs.weight).detach()
    if own.num_embeddings != len(table) or own.embedding_dim > table.shape[1]:
        shape = f"{own.num_embeddings}x{own.embedding_dim}"
        return {"nothing": f"a table of {shape} is no smaller one of {len(table)}x{table.shape[1]}"}
    record: dict[str, Any] = {}
    if isinstance(student, Transformer) and isinstance(teacher.net, Transformer):
        if not (reason := why_not_narrowed(student.sizes, teacher.net.sizes, layers)):
            return narrow_transformer(student, teacher.net, layers, encode_sample(teacher.encoder, texts, ROWS))
        record = {"layers": f"new: {reason}"}
    with torch.no_grad():
        counts = count_tokens(teacher.encoder, texts, len(table))
        basis, share = principal_components(table, counts, own.embedding_dim)
        vectors = table @ basis
        if isinstance(teacher.net, Transformer) and not isinstance(student, Transformer):
            vectors = vectors * (SPREAD / vectors.std())  # as in train.texts: the student has no norm behind its table
        own.weight.copy_(vectors)
        if isinstance(student, Transformer) and student.lift is not None and student.sizes.width == len(basis):
            student.lift.weight.copy_(basis)
    how = (
        "copied"
        if own.embedding_dim == table.shape[1]
        else (f"{own.embedding_dim} principal components of {table.shape[1]}")
    )
    return {**record, "tokens": how, "variance_kept": round(share, 4)}


def count_tokens(encoder: Encoder, texts: Sequence[str], vocabulary: int) -> Tensor:
    """float32 (vocabulary,): how often each token stands in a sample of `texts`, and a little for every other one."""
    arrays = encoder.encode(sample_rows(texts))
    ids = arrays["input_ids"][arrays["attention_mask"] > 0]
    counts = np.bincount(ids, minlength=vocabulary).astype(np.float32)
    return torch.from_numpy(counts + np.float32(0.1 * len(ids) / vocabulary))


def _sizes(net: nn.Module) -> dict[str, Any]:
    described = describe_net(net)
    return {"kind": described["kind"], **described["sizes"], "dropout": None}


def _kind(net: nn.Module) -> str:
    return cast(str, describe_net(net)["kind"])
