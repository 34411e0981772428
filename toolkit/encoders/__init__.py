"""What turns raw examples (text, picture, record) into named arrays, in training and in production.

An encoder is numpy plus at most one small library; it never needs torch. It is saved as a few
named byte strings, because an artifact hashes the very bytes that it then parses.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from toolkit.errors import ArtifactError
from toolkit.spec import Array, Input

# kind of encoder -> module and class; imported when used, since each needs a library of its own
KINDS = {
    "tokens": ("toolkit.encoders.text", "TokenEncoder"),
    "ngrams": ("toolkit.encoders.ngrams", "NgramEncoder"),
    "image": ("toolkit.encoders.image", "ImageEncoder"),
    "record": ("toolkit.encoders.record", "RecordEncoder"),
}


class Encoder(Protocol):
    """Raw examples in, arrays out; deterministic, and the same alone as in a batch but for padding."""

    @property
    def kind(self) -> str:
        """The key of this encoder in `KINDS`."""
        ...

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The arrays that `encode` returns, as they stand in a `Spec`."""
        ...

    @property
    def limits(self) -> dict[str, tuple[int, int]]:
        """Smallest and largest size of every varying axis but "batch"."""
        ...

    def encode(self, examples: Sequence[Any]) -> dict[str, Array]:
        """Encode a batch; raises `InputError` that names the position of an example it cannot take."""
        ...

    def size(self, example: Any) -> int:
        """A cheap estimate of the work in one example, to put like with like in a batch."""
        ...

    def files(self) -> dict[str, bytes]:
        """Everything needed to make this encoder again, by file name."""
        ...


def encoder_files(encoder: Encoder) -> dict[str, bytes]:
    """The files of `encoder` and the marker `encoder.json` that says which kind reads them."""
    marker = json.dumps({"kind": encoder.kind}, sort_keys=True).encode()
    return {"encoder.json": marker, **encoder.files()}


def load_encoder(files: Mapping[str, bytes]) -> Encoder:
    """Make an encoder from its files; raises `ArtifactError` when they are not an encoder's."""
    try:
        kind = json.loads(files["encoder.json"])["kind"]
        module, name = KINDS[kind]
        loader = getattr(importlib.import_module(module), name).from_files
        return cast(Encoder, loader({key: value for key, value in files.items() if key != "encoder.json"}))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the encoder of this artifact cannot be read: {error!r}") from None
