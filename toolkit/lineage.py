"""What was done to a model, and to which bytes: steps, canonical JSON and digests.

Nothing here records a date, a host or a path: the same work gives the same digest anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import ArtifactError


@dataclass(frozen=True)
class Step:
    """One row of the lineage: the name of a step and every setting it ran with."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the form in `artifact.json`."""
        return {"name": self.name, "settings": dict(self.settings)}


@dataclass(frozen=True)
class SplitRecord:
    """Which rows a model was trained on, and which were kept from it.

    `source` is the digest of the data as it came, `seed` the one that split it, and `digests` one
    digest for the rows of each split. A later command on the same source splits it the same way.
    """

    name: str
    source: str
    seed: int
    digests: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the form in `artifact.json`."""
        return {"name": self.name, "source": self.source, "seed": self.seed, "digests": dict(self.digests)}


def steps_from_json(value: Any) -> tuple[Step, ...]:
    """Read the steps of `artifact.json`; raises `ArtifactError` when they have another form."""
    try:
        return tuple(Step(str(row["name"]), dict(row["settings"])) for row in value)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the lineage of this artifact cannot be read: {error!r}") from None


def split_from_json(value: Any) -> SplitRecord | None:
    """Read the split record of `artifact.json`, where there is one."""
    if value is None:
        return None
    try:
        return SplitRecord(str(value["name"]), str(value["source"]), int(value["seed"]), dict(value["digests"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the split record of this artifact cannot be read: {error!r}") from None


def canonical_json(value: Any) -> bytes:
    """One byte sequence for one value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """sha256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 of a file, in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
