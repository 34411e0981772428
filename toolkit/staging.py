"""Outputs appear whole or not at all: work in `NAME.partial/`, then one rename.

The partial folder carries the key of the work that made it. The same work finds it again after a
crash and resumes; other work is refused, so two recipes never mix in one folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import InputError, ToolkitError

_KEY = "KEY"


@contextmanager
def staged(folder: Path, *, key: str, force: bool = False) -> Iterator[Path]:
    """Yield `folder.partial`; on a clean exit it becomes `folder`, after a crash it stays for a resume.

    An error that the toolkit raises on purpose leaves nothing that was not there before.

    Raises `InputError` when `folder` exists (unless `force`) or the partial folder has another key.
    """
    folder = Path(folder)
    if folder.exists() and not force:
        raise InputError(f"{folder} exists already; choose another -o, or add --force to replace it")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        found = (partial / _KEY).read_text() if (partial / _KEY).is_file() else ""
        if found != key:
            if not force:
                raise InputError(
                    f"{partial} holds unfinished work of another recipe; repeat that command to finish "
                    "it, remove the folder, or add --force"
                )
            shutil.rmtree(partial)
    fresh = not partial.exists()
    partial.mkdir(parents=True, exist_ok=True)
    (partial / _KEY).write_text(key)
    try:
        yield partial
    except ToolkitError:
        if fresh:  # refused or failed a gate: a repetition would end the same, there is nothing to resume
            shutil.rmtree(partial)
        raise
    (partial / _KEY).unlink()
    if folder.exists():
        replaced = folder.with_name(folder.name + ".replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
        partial.rename(folder)
        shutil.rmtree(replaced)
    else:
        partial.rename(folder)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it in, so that a reader never sees half of it."""
    temporary = path.with_name(path.name + ".partial")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
