"""The rows whose answer changed, as a person reads them: what it was, what it is, how sure, and the row.

The surest new mistakes come first, since nothing downstream will doubt them; then what was fixed. Raw
rows are for the terminal and for a file that the user names: they never stand in a report, which travels
with the model. Rows are numbered within their split, from 0, as `flips` numbers them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data import Split
from toolkit.errors import InputError
from toolkit.judge.flips import Flip, Flips
from toolkit.staging import write_atomically

SHOWN_SIGNS = 80


@dataclass(frozen=True)
class Exemplar:
    """One changed row; scores are probabilities of the answer given. `example` is the raw row, whole."""

    row: int
    label: str
    before: str
    before_score: float
    after: str
    after_score: float
    example: Any

    @property
    def fixed(self) -> bool:
        """True when the candidate is right; else it is wrong, newly or in another way."""
        return self.after == self.label

    @property
    def shown(self) -> str:
        """The row in one line of at most 80 characters that a terminal may print."""
        return shorten(self.example)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values with the raw row: bytes of a picture in base64, pixels as lists."""
        return {**vars(self), "fixed": self.fixed, "example": _plain(self.example)}


def list_exemplars(flips: Flips, split: Split, labels: Sequence[str], *, count: int | None = None) -> list[Exemplar]:
    """Changed rows of `split`, wrong ones first, then fixed ones, each by the candidate's confidence.

    `labels` are the reference's, which label indices in `flips` point into; at most `count` of either kind.
    Raises `InputError` when `flips` are of other rows.
    """
    if flips.total != len(split):
        raise InputError(f"these flips are of {flips.total} rows and the split has {len(split)}; give the same rows")
    ordered = sorted(flips.rows, key=lambda flip: (-flip.candidate_confidence, flip.row))
    wrong = [flip for flip in ordered if flip.candidate != flip.label]
    fixed = [flip for flip in ordered if flip.candidate == flip.label]
    return [_exemplar(flip, split, labels) for flip in (*wrong[:count], *fixed[:count])]


def write_exemplars(path: Path, exemplars: Sequence[Exemplar]) -> None:
    """One JSON object a line, the raw row whole; raises `InputError` when `path` exists."""
    check_free(path)
    lines = [json.dumps(exemplar.to_json(), ensure_ascii=False) for exemplar in exemplars]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def check_free(path: Path) -> None:
    """Raise `InputError` when something stands at `path` or there is no folder for it."""
    if path.exists():
        raise InputError(f"{path} exists; give another name or remove it")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; make it first")


def shorten(example: Any, signs: int = SHOWN_SIGNS) -> str:
    """A raw row as one line of at most `signs` printable characters."""
    if isinstance(example, bytes):
        return f"a picture of {len(example):,} bytes"
    if isinstance(example, np.ndarray):
        return f"a picture of {'x'.join(map(str, example.shape))}"
    if isinstance(example, dict):
        example = ", ".join(f"{name} {value}" for name, value in example.items())
    # an escape sequence in a row must not reach the terminal
    line = "".join(sign if sign.isprintable() else "?" for sign in " ".join(str(example).split()))
    return line if len(line) <= signs else line[: signs - 1] + "…"


def _exemplar(flip: Flip, split: Split, labels: Sequence[str]) -> Exemplar:
    return Exemplar(
        row=flip.row,
        label=labels[flip.label],
        before=labels[flip.reference],
        before_score=flip.reference_confidence,
        after=labels[flip.candidate],
        after_score=flip.candidate_confidence,
        example=split.examples[flip.row],
    )


def _plain(example: Any) -> Any:
    if isinstance(example, bytes):
        return base64.b64encode(example).decode()
    return example.tolist() if isinstance(example, np.ndarray) else example
