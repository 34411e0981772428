"""Changed rows in a file of the evidence: row numbers, labels and confidences of both models, never the rows.

::

    {"schema_version": 1, "kind": "flips", "digest", "reference": {"name", "digest"}, "split", "split_digest",
     "labels": [...], "total": 500,
     "rows": [{"row", "label", "reference", "candidate", "reference_confidence", "candidate_confidence"}, ...]}

Labels are indices into "labels", rows are numbered within the split from 0. Whoever holds the data finds the
raw rows by these numbers; `split_digest` says whether it is the same data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.judge.flips import Flip
from toolkit.staging import write_atomically

SCHEMA_VERSION = 1
FLIPS = "flips.json"
KIND = "flips"
_AGAIN = "run toolkit verify again"


@dataclass(frozen=True)
class FlipsFile:
    """See the module. `digest` is the candidate's, `total` how many rows the split has."""

    digest: str
    reference_name: str
    reference_digest: str
    split: str
    split_digest: str
    labels: tuple[str, ...]
    total: int
    rows: tuple[Flip, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "digest": self.digest,
            "reference": {"name": self.reference_name, "digest": self.reference_digest},
            "split": self.split,
            "split_digest": self.split_digest,
            "labels": list(self.labels),
            "total": self.total,
            "rows": [asdict(flip) for flip in self.rows],
        }

    @classmethod
    def from_json(cls, value: Any, *, source: str = "it") -> FlipsFile:
        """The inverse of `to_json`; raises `InputError` naming `source` for another form or schema version."""
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise InputError(f"{source} is no list of changed rows; {_AGAIN}")
        if value.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{source} has schema_version {value.get('schema_version')!r}; this toolkit reads {SCHEMA_VERSION}; "
                f"{_AGAIN}"
            )
        try:
            labels, total = tuple(str(label) for label in value["labels"]), int(value["total"])
            return cls(
                digest=str(value["digest"]),
                reference_name=str(value["reference"]["name"]),
                reference_digest=str(value["reference"]["digest"]),
                split=str(value["split"]),
                split_digest=str(value["split_digest"]),
                labels=labels,
                total=total,
                rows=tuple(_flip(row, labels, total) for row in value["rows"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{source} is no whole list of changed rows: {error!r}; {_AGAIN}") from None


def write_flips(path: Path, flips: FlipsFile) -> None:
    """Write the file whole, or leave what was there."""
    write_atomically(path, (json.dumps(flips.to_json(), ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_flips(path: Path) -> FlipsFile:
    """Read the file; raises `InputError` that says what is wrong with it and what to do."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}; {_AGAIN}") from None
    return FlipsFile.from_json(value, source=str(path))


def _flip(row: Mapping[str, Any], labels: Sequence[str], total: int) -> Flip:
    """One row; raises `ValueError` for a number out of its range."""
    flip = Flip(
        *(int(row[key]) for key in ("row", "label", "reference", "candidate")),
        *(float(row[key]) for key in ("reference_confidence", "candidate_confidence")),
    )
    confidences = flip.reference_confidence, flip.candidate_confidence
    if not 0 <= flip.row < total or not all(0 <= c <= 1 + 1e-6 for c in confidences):
        raise ValueError(f"row {flip.row} of {total} with confidences {confidences}")
    if not all(0 <= index < len(labels) for index in (flip.label, flip.reference, flip.candidate)):
        raise ValueError(f"row {flip.row} names a label that is not among {len(labels)}")
    return flip
