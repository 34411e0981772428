"""Engines on this machine's disk, found by their key and hashed before a byte of them is opened.

::

    ~/.cache/serving-toolkit/engines/
        MODEL/KEY/engine.plan    what TensorRT serialized
                  engine.json    its key, its sha256, what building it took and how it was judged
        timing/PLACE.bin         timings of kernels, which make the next build here a quick one

A plan is machine code: whoever can write it runs code as whoever opens it. So the cache is only used where nobody
but this user can write (and root), and a plan whose hash or key is not as written is not opened but built again.
Limit: the hash lies beside the plan; it shows damage and mix-ups, the folder's permissions keep others out.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.engines.key import EngineKey
from toolkit.errors import ArtifactError, InputError
from toolkit.lineage import digest_of_bytes
from toolkit.staging import write_atomically

PLAN, RECORD, TIMING = "engine.plan", "engine.json", "timing"
NEVER = "no engine was built of this model"
SHORT = 16
MAX_RECORD_BYTES, MAX_PLAN_BYTES = 1 << 20, 32 << 30


@dataclass(frozen=True)
class Look:
    """What was found for a key: the plan, or `why` there is none that may be opened."""

    plan: bytes | None = field(repr=False)
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class EngineCache:
    """The engines under one folder; by default `SERVING_TOOLKIT_CACHE`/engines, else in the user's cache."""

    def __init__(self, folder: Path | None = None) -> None:
        base = Path(os.environ.get("SERVING_TOOLKIT_CACHE", Path.home() / ".cache" / "serving-toolkit"))
        self.folder = folder or base / "engines"

    def look(self, key: EngineKey) -> Look:
        """The plan of exactly this key, as it was written. Raises `InputError` for a cache that others may write."""
        place = self._place(key)
        self._check_private(place)
        if not (place / PLAN).is_file():
            return Look(None, self._why_none(key))
        try:
            record = _read_record(place)
            content = _read(place / PLAN, MAX_PLAN_BYTES)
            if EngineKey.from_json(record["key"]) != key:
                return Look(None, f"{place} holds the engine of another key; it is built again")
            if digest_of_bytes(content) != record["sha256"]:
                return Look(
                    None, f"{place / PLAN} is not the plan that was written (its sha256 differs); it is built again"
                )
        except (ArtifactError, KeyError, TypeError, OSError) as error:
            return Look(None, f"{place} cannot be read ({error}); it is built again")
        return Look(content, facts=dict(record.get("facts", {})))

    def keep(self, key: EngineKey, plan: bytes, facts: Mapping[str, Any] | None = None) -> Path:
        """Write a plan and its record, whole or not at all, and drop those that it replaces; returns the folder."""
        place = self._place(key)
        self._check_private(place)
        for folder in (place.parent, place):  # `parents` would not give them this mode
            folder.mkdir(exist_ok=True, mode=0o700)
        record = {"key": key.to_json(), "sha256": digest_of_bytes(plan), "bytes": len(plan), "facts": dict(facts or {})}
        (place / RECORD).unlink(missing_ok=True)  # a plan without a record is none: a crash leaves nothing half right
        write_atomically(place / PLAN, plan)
        write_atomically(place / RECORD, json.dumps(record, indent=1, sort_keys=True).encode() + b"\n")
        for file in (PLAN, RECORD):
            (place / file).chmod(0o600)
        for other, found in self._others(key):
            if (found.gpu, found.settings) == (key.gpu, key.settings):  # of an older driver, TensorRT or toolkit
                shutil.rmtree(other, ignore_errors=True)
        return place

    def timings(self, key: EngineKey) -> bytes:
        """Serialized timings of kernels on this GPU, driver and TensorRT; empty where there are none."""
        try:
            return _read(self._timings(key), MAX_PLAN_BYTES)
        except (OSError, ArtifactError):
            return b""

    def keep_timings(self, key: EngineKey, timings: bytes) -> None:
        """Write them for the next build here."""
        place = self._timings(key)
        self._check_private(place.parent)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        write_atomically(place, timings)

    def _place(self, key: EngineKey) -> Path:
        return self.folder / key.onnx_sha256[:SHORT] / key.digest[:SHORT]

    def _timings(self, key: EngineKey) -> Path:
        return self.folder / TIMING / f"{key.place[:SHORT]}.bin"

    def _others(self, key: EngineKey) -> list[tuple[Path, EngineKey]]:
        """The engines of the same model under other keys; what cannot be read is none."""
        found = []
        for place in sorted(self._place(key).parent.glob("*")):
            if place == self._place(key):
                continue
            try:
                found.append((place, EngineKey.from_json(_read_record(place)["key"])))
            except (ArtifactError, KeyError, TypeError, OSError):
                continue
        return found

    def _why_none(self, key: EngineKey) -> str:
        others = sorted((len(found := key.differences(other)), found) for _, other in self._others(key))
        return f"the engine of this model is for {'; '.join(others[0][1])}" if others else NEVER

    def _check_private(self, place: Path) -> None:
        """Raise `InputError` unless only this user (and root) can put a plan at `place`, where it would be opened."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not hasattr(os, "getuid"):
            return
        for folder in (self.folder, *(part for part in (place.parent, place) if part.is_relative_to(self.folder))):
            if not os.path.lexists(folder):
                continue
            found = folder.lstat()
            if stat.S_ISLNK(found.st_mode) or found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o022:
                raise InputError(
                    f"{folder} is a link, another user's, or writable by others, who could run code through an engine "
                    "in it; chmod go-w it, or name another folder in SERVING_TOOLKIT_CACHE"
                )


def _read_record(place: Path) -> Any:
    try:
        return json.loads(_read(place / RECORD, MAX_RECORD_BYTES))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{place / RECORD} is no record of an engine: {error}") from None


def _read(path: Path, most: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise ArtifactError(f"{path} is no regular file")
    if path.stat().st_size > most:
        raise ArtifactError(f"{path} has more than {most:,} bytes")
    return path.read_bytes()
