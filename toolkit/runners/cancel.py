"""A word to a run that is under way, from another thread: stop, nobody waits for you any more.

ONNX Runtime looks at the flag between two operators, so a run ends within the longest of them; a runtime without
such a flag looks before it starts. Source: `OrtApi::RunOptionsSetTerminate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from toolkit.errors import ToolkitError


class Cancelled(ToolkitError):  # noqa: N818 - what happened, and nobody's error
    """Raised by a run that was ended on demand; there is no answer."""


class Cancel:
    """One for each piece of work; `cancel` may come from any thread, before, during or after a run."""

    def __init__(self) -> None:
        self.cancelled = False
        self._end: Callable[[], None] | None = None

    def cancel(self) -> None:
        """End the run under way, and let no further one begin."""
        # the flag first: whoever registers between these lines sees it, whoever did before is ended by the second
        self.cancelled = True
        if (end := self._end) is not None:
            end()

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """While inside, `cancel` calls `end`; raises `Cancelled` at once when it has been called already."""
        self._end = end
        try:
            self.check()
            yield
        finally:
            self._end = None

    def check(self) -> None:
        """Raise `Cancelled` if `cancel` was called."""
        if self.cancelled:
            raise Cancelled("the run was ended: nobody waits for it any more")
