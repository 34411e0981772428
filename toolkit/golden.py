"""Arrays that an artifact keeps beside its model: golden rows for the self-test, hashes of the training rows."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ArtifactError
from toolkit.spec import Array


@dataclass(frozen=True)
class Golden:
    """A few encoded rows and the logits they must give; run one row at a time at every load."""

    arrays: Mapping[str, Array]
    logits: Array

    def to_bytes(self) -> bytes:
        """An uncompressed npz; equal content gives equal bytes."""
        buffer = io.BytesIO()
        named = {f"input.{name}": array for name, array in sorted(self.arrays.items())}
        np.savez(buffer, **named, logits=self.logits)  # type: ignore[arg-type]  # numpy types **kwds as bool
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Golden:
        """Read an npz without ever unpickling or unpacking; raises `ArtifactError` for anything else."""
        try:
            _check_sizes(content)
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
                logits = arrays.pop("logits")
        except Exception as error:  # zipfile and numpy raise a dozen kinds for hostile bytes
            raise ArtifactError(f"golden.npz cannot be read: {error}") from None
        return cls({name.removeprefix("input."): array for name, array in arrays.items()}, logits)


def _check_sizes(content: bytes) -> None:
    """Raise `ValueError` unless every array is stored as it is, with as many bytes as its header says.

    A few packed kilobytes may unpack into all memory there is, and a header may claim any shape.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{entry.filename} is compressed")
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    raise ValueError(f"{entry.filename} is an array of version {version}")
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
                if kind.hasobject or math.prod(shape) * kind.itemsize != entry.file_size - file.tell():
                    raise ValueError(f"{entry.filename} does not hold what its header says")


def rows_to_bytes(rows: Array) -> bytes:
    """Hashes of training rows as one .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()
