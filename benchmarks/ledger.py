"""What a long benchmark has measured, kept line by line, so that a run that broke goes on where it was."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Ledger:
    """A file of JSON lines under `key`, the digest of whatever decides the results; another key starts it anew.

    `resumed` counts the parts that an earlier run left.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._found = path, dict[str, Any]()
        lines = path.read_text().splitlines() if path.is_file() else []
        if lines[:1] == [key]:
            with contextlib.suppress(ValueError):  # the last line of a run that was killed while it wrote
                for line in lines[1:]:
                    self._found |= json.loads(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([key, *(json.dumps({name: value}) for name, value in self._found.items()), ""]))
        self.resumed = len(self._found)

    def take(self, name: str, measure: Callable[[], Any], *, keep: Callable[[Any], bool] = lambda found: True) -> Any:
        """What is known under `name`, else what `measure` says; what `keep` refuses is measured again next time."""
        if name in self._found:
            return self._found[name]
        print(f"{datetime.now(UTC):%H:%M:%S} {name}", file=sys.stderr, flush=True)
        found = measure()
        if keep(found):
            self._found[name] = found
            with self._path.open("a") as file:
                file.write(json.dumps({name: found}) + "\n")
        return found
