"""Add, list and remove the keys of a file that a server checks; the key itself is shown once and kept nowhere.

The file is written whole, readable by its owner alone, and a running server sees it within a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from toolkit.errors import InputError
from toolkit.serving.keys import Key, read_keys

RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def add_key(file: Path, name: str) -> str:
    """Make a key, store its digest under `name`, and return it: nobody can read it again later.

    Raises `InputError` for a name that is taken or not of letters, digits, '.', '_' and '-', at most 63.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a key; use letters, digits, '.', '_' and '-', at most 63")
    keys = read_keys(file) if file.exists() else []
    if any(key.name == name for key in keys):
        raise InputError(f"{file} has a key {name} already; choose another name, or: toolkit key remove {name}")
    # the prefix lets scanners for leaked secrets know one when they see it
    key = f"tk_{secrets.token_urlsafe(RANDOM_BYTES)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    _write(file, [*keys, Key(name, digest, datetime.now(UTC).date().isoformat())])
    return key


def remove_key(file: Path, name: str) -> None:
    """Withdraw the key `name`; raises `InputError` when there is none."""
    keys = read_keys(file)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        known = ", ".join(key.name for key in keys) or "none"
        raise InputError(f"{file} has no key {name}; known: {known}")
    _write(file, left)


def _write(file: Path, keys: Sequence[Key]) -> None:
    content = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # readable by its owner alone
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink()
        raise
