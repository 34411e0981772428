"""What a command says: bars and tables on stderr, one JSON document on stdout when asked for.

Bars are drawn on a terminal; elsewhere (a CI log) a line is printed when a stage ends and every
fifteen seconds in between, so a long command is never silent.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from toolkit.progress import Progress

SECONDS_BETWEEN_LINES = 15.0

console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(words: str) -> None:
    """One line on stderr; markup of rich is not interpreted."""
    console.print(words, markup=False)


def emit(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print `document` on stdout when the user asked for JSON."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """A `Progress` that draws bars on a terminal and prints lines elsewhere."""
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int, words: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, words=words)
            bars.update(tasks[stage], completed=done, total=total, words=words)

        yield draw


class _Lines:
    """Progress as lines of a log."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int, words: str = "") -> None:
        now = time.monotonic()
        begun = stage in self._last
        self._last.setdefault(stage, now)
        if done >= total or (begun and now - self._last[stage] >= SECONDS_BETWEEN_LINES):
            self._last[stage] = now
            say(f"{stage}: {done}/{total} {words}".rstrip())
