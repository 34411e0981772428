"""A line of steps in one folder, in which finished stages are kept and only what changed is made again.

A stage is an artifact folder with a key: the digest of everything that decides it. A second run finds
the folder under the same key and takes it; a change of a setting makes that stage and, since keys carry
the digest of what a stage was made from, all after it again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import toolkit
from toolkit.artifact import Artifact, load_artifact
from toolkit.errors import ArtifactError
from toolkit.lineage import canonical_json, digest_of
from toolkit.progress import Progress, silent
from toolkit.staging import staged, write_atomically

KEYS = "stages.json"


class Stages:
    """The stages under `folder`; `seconds` says what each took in this run."""

    def __init__(self, folder: Path, progress: Progress = silent) -> None:
        self.folder, self.progress = folder, progress
        self.seconds: dict[str, float] = {}

    def keep(self, name: str, settings: Any, make: Callable[[Path], object]) -> Artifact:
        """The artifact `folder/name` as `make` writes it into a staged folder, or as an earlier run left it."""
        key = digest_of([toolkit.__version__, name, settings])
        target = self.folder / name
        if target.exists() and self._keys().get(name) == key:
            try:
                artifact = load_artifact(target)
            except ArtifactError:
                pass  # damaged since: made again below
            else:
                self.progress(name, 1, 1, "kept from an earlier run")
                self.seconds[name] = 0.0
                return artifact
        with self.timed(name):
            with staged(target, key=key, force=target.exists()) as partial:
                make(partial)
            write_atomically(self.folder / KEYS, canonical_json({**self._keys(), name: key}))
        return load_artifact(target)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how many seconds the block took."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun

    def _keys(self) -> dict[str, str]:
        try:
            found = json.loads((self.folder / KEYS).read_bytes())
        except (OSError, ValueError):
            return {}
        return dict(found) if isinstance(found, dict) else {}
