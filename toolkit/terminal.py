"""What a command says: bars and tables on stderr, one JSON document on stdout when asked for.

Bars are drawn on a terminal; elsewhere (a CI log) a line is printed when a stage ends and every
fifteen seconds in between, so a long command is never silent.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
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


def show_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[str] = (), bad: Container[int] = ()
) -> None:
    """Rows of text on stderr: drawn on a terminal, where `bad` rows are red, aligned lines of any width elsewhere."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in titles:
            table.add_column(title, justify="right" if title in right else "left")
        for place, row in enumerate(rows):
            table.add_row(*(Text(cell) for cell in row), style="red" if place in bad else None)
        console.print(table)
        return
    lines = [titles, *rows]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        padding = [" " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        cells = [p + c if t in right else c + p for t, c, p in zip(titles, line, padding, strict=True)]
        say("  ".join(cells).rstrip())


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
