"""Answers from the runner that is there while a better one is made beside it, then from that one.

Building a TensorRT engine takes minutes, and a server that waits for it is down. So it answers through ONNX Runtime
CUDA at once; a thread builds, compares, and only then the two are switched between two runs. Runs in hand end on
the runner they began with. What went wrong is a fact of the runner and never an error of a request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from toolkit.errors import InputError
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

if TYPE_CHECKING:
    from toolkit.runners import Runner

LOG = logging.getLogger("bentoml.toolkit")
BUILDING, SWITCHED, REFUSED = "building", "switched", "refused"


class SwitchingRunner:
    """`first` answers; `make` is called in a thread with it, and what it returns answers from then on.

    `make` raises what keeps its runner from being used. Closing waits for no build: what is made after it is closed
    again at once.
    """

    def __init__(self, first: Runner, make: Callable[[Runner], Runner], *, what: str) -> None:
        self._current, self._what = first, what
        self._state, self._why = BUILDING, ""
        self._closed = False
        self._users: dict[int, int] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._build, args=(make,), name="toolkit-build", daemon=True).start()

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        runner = self._enter()
        try:
            return runner.run(arrays, cancel)
        finally:
            self._leave(runner)

    def wait(self, seconds: float) -> bool:
        """Until the build has ended, well or not; False when it has not by then."""
        return self._done.wait(seconds)

    def facts(self) -> dict[str, Any]:
        """The facts of the runner that answers, and how the other one fares."""
        with self._lock:
            found = {**self._current.facts(), "beside": {"what": self._what, "state": self._state}}
            if self._why:
                found["beside"]["why"] = self._why
        return found

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = not self._users.get(id(self._current))
        if idle:
            self._current.close()

    def _build(self, make: Callable[[Runner], Runner]) -> None:
        try:
            made = make(self._current)
        except Exception as error:  # a build may fail in as many ways as a driver has, and no request may feel it
            with self._lock:
                self._state, self._why = REFUSED, str(error)
            LOG.warning("%s is not used: %s", self._what, error)
        else:
            self._switch(made)
        finally:
            self._done.set()

    def _switch(self, made: Runner) -> None:
        with self._lock:
            old, closed = self._current, self._closed
            if not closed:
                self._current, self._state = made, SWITCHED
            idle = not self._users.get(id(old))
        if closed:
            made.close()
            return
        LOG.info("%s answers now", self._what)
        if idle:
            old.close()

    def _enter(self) -> Runner:
        with self._lock:
            if self._closed:
                raise InputError("this runner is closed; open the artifact again")
            runner = self._current
            self._users[id(runner)] = self._users.get(id(runner), 0) + 1
        return runner

    def _leave(self, runner: Runner) -> None:
        """The last run of a runner that was replaced, or closed meanwhile, closes it."""
        with self._lock:
            self._users[id(runner)] -= 1
            done = not self._users[id(runner)] and (self._closed or runner is not self._current)
        if done:
            runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
