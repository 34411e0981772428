"""What a server was swapped to, so that a worker that replaces a dead one does not fall back to the start.

One small file beside the control socket: folder, digest, and the parent process it is true for. The
parent (BentoML's supervisor) outlives its workers, and a parent that was started anew serves what it
was told to: its choice is known by its pid and its start time, since pids come again.

A version that ends its worker each time must not end the server, so restores are counted.

Limit: without /proc, or without a supervisor, nothing is remembered.
Source: proc(5), field 22 of /proc/PID/stat.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.staging import write_atomically

RECENT_SECONDS = 60.0


@dataclass(frozen=True)
class Choice:
    """An artifact folder, and the digest that must still be in it."""

    folder: str
    digest: str


class ChoiceFile:
    """The choice of one server; `path` None remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._parent = _identity_of(os.getppid())

    @property
    def works(self) -> bool:
        """True where there is a place to write to and a parent to be true for."""
        return self._path is not None and self._parent is not None

    def read(self) -> Choice | None:
        """The choice made under this parent; None when there is none or it cannot be read."""
        if self._path is None or self._parent is None:
            return None
        try:
            value = json.loads(self._path.read_bytes())
            if value["parent"] != self._parent:
                self.clear()  # of a server that is gone
                return None
            return Choice(str(value["folder"]), str(value["digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, choice: Choice) -> None:
        """Remember it, whole or not at all; raises `OSError`."""
        if self._path is not None and self._parent is not None:
            write_atomically(self._path, json.dumps({"parent": self._parent, **asdict(choice)}).encode())

    def count_restore(self) -> int:
        """How often workers came back to this choice, each within a minute of the one before; raises `OSError`."""
        if self._path is None:
            return 0
        value = json.loads(self._path.read_bytes())
        now = time.time()
        recent = 0 <= now - value.get("restored_at", 0.0) < RECENT_SECONDS
        value |= {"restored_at": now, "restores": value.get("restores", 0) + 1 if recent else 1}
        write_atomically(self._path, json.dumps(value).encode())
        return int(value["restores"])

    def clear(self) -> None:
        """Forget it."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def _identity_of(pid: int) -> str | None:
    """Pid and start time in clock ticks since boot; the name in field 2 may hold spaces and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{pid}.{fields[19]}"
    except (OSError, IndexError):
        return None
