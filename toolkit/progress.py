"""How long work tells that it goes on: one callable, silent unless somebody listens.

The core never prints. The command line passes a listener that draws bars; a notebook may pass its
own; a test passes a list's `append`.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work: `done` of `total` units of `stage`, and a few words on how it goes."""

    def __call__(self, stage: str, done: int, total: int, words: str = "") -> None: ...


def silent(stage: str, done: int, total: int, words: str = "") -> None:
    """The listener that does nothing."""
