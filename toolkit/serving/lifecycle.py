"""Which version answers: the current one, the previous one kept for a rollback, and a shadow.

::

    swap       load and try in a thread ─► compare with the current ─► switch on the event loop ─► remember
    rollback   switch to the previous, which is still open: nothing is loaded, nothing can fail
    shadow     load and try in a thread ─► answer copies of live requests, never a client

A version that is not fit never reaches the switch, and the switch is one assignment between two
requests: no request sees half of it. Everything is in memory afterwards, so an artifact may be moved
or deleted once it is served.

Cost: two models in memory after the first swap (three with a shadow, one more while loading), and the
processor time of loading, which requests feel where there is one core: INT8 MiniLM behind 8 connections
answered at half its rate for the 2 seconds it took. The collector is not felt: what was loaded before is
frozen, and its walk of what was loaded since took 0.04 ms. A hanging warm-up is given up on after
`seconds`, but its thread cannot be ended: until it ends no other version is loaded.
Limit: one worker a server; a dead worker comes back with the version swapped to, and its rollback
then leads to the version the server was started with.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.serving.app import App
from toolkit.serving.choice import Choice, ChoiceFile
from toolkit.serving.loading import load_served
from toolkit.serving.served import Served
from toolkit.serving.shadow import Shadow
from toolkit.serving.successor import Demands, Load, Refused, open_successor, open_tried

LOG = logging.getLogger("bentoml.toolkit")
SECONDS = 300.0
MOST_RESTORES = 2  # within a minute of one another; a version that ends its worker must not end the server


class Lifecycle:
    """The versions of one running server; every method but `start` is for its event loop alone.

    `front` closes no version when it is given another: requests in hand end on theirs, and one that is let go of
    here is freed with the last reference to it.
    """

    def __init__(
        self, front: App, *, choices: ChoiceFile | None = None, load: Load = load_served, seconds: float = SECONDS
    ) -> None:
        self._front, self._load, self._seconds = front, load, seconds
        self._choices = choices or ChoiceFile(None)
        self._original: Served | None = None
        self._current: Served | None = None
        self._previous: Served | None = None
        self._shadow: Shadow | None = None
        self._loading: str | None = None
        self._remembering = asyncio.Lock()
        self._closed = False
        self._since, self._note = "", ""

    def start(self, original: Served) -> None:
        """Answer with what was swapped to before the worker was replaced, else with `original`; may block."""
        self._original = original
        chosen = self._restore(original)
        self._open(chosen or original)
        self._previous = original if chosen else None

    async def swap(self, folder: str, demands: Demands) -> Mapping[str, Any]:
        """Answer with the artifact in `folder` from now on; raises `Refused` and changes nothing otherwise."""
        new = await self._load_beside("swap", folder, demands)
        if new.artifact.digest == self.current.artifact.digest:
            new.predictor.close()
            return {**self.facts(), "unchanged": True}
        self._switch(new, "swap")
        await self._remember()
        return self.facts()

    async def rollback(self) -> Mapping[str, Any]:
        """Answer with the previous version, at once; what answered becomes the previous. Raises `Refused`."""
        if self._previous is None:
            raise Refused("there is no previous version; nothing was swapped since this server was started")
        self._switch(self._previous, "rollback")
        await self._remember()
        return self.facts()

    async def start_shadow(self, folder: str, demands: Demands) -> Mapping[str, Any]:
        """Compare the artifact in `folder` with what answers, on copies of live requests; raises `Refused`."""
        new = await self._load_beside("shadow", folder, demands)
        self._cast(new)
        LOG.info("shadow: %s beside %s", _name(new), _name(self.current))
        return self.facts()

    def stop_shadow(self) -> Mapping[str, Any]:
        """End the comparison and free its model; what it found is in the answer, for the last time."""
        found = self.facts()
        if self._shadow is not None:
            LOG.info("shadow: %s ended", _name(self._shadow.served))
        self._cast(None)
        return {**found, "ended": True}

    @property
    def current(self) -> Served:
        """The version that answers; raises `Refused` before there is one."""
        if self._current is None:
            raise Refused("no version is served yet")
        return self._current

    def facts(self) -> dict[str, Any]:
        """Plain JSON: what is served since when, the previous one, the shadow, what is being loaded."""
        return {
            "served": self._current.identity if self._current else None,
            "since": self._since,
            "previous": self._previous.identity if self._previous else None,
            "shadow": self._shadow.facts() if self._shadow else None,
            "loading": self._loading,
            **({"note": self._note} if self._note else {}),
        }

    def close(self) -> None:
        """Take no more commands, stop the shadow; the application closes the version that answers."""
        self._closed = True
        self._cast(None)
        self._previous = self._original = None

    def _switch(self, new: Served, word: str) -> None:
        old = self.current
        self._open(new)
        dropped = [self._previous]
        self._previous, self._note = old, ""
        # two models stay in memory, however often this is done
        threading.Thread(target=_let_go, args=(dropped,), name="letting-go", daemon=True).start()
        LOG.info("%s: %s -> %s", word, _name(old), _name(new))
        if self._shadow is not None:
            same = self._shadow.served.artifact.digest == new.artifact.digest
            self._cast(None if same else self._shadow.served)

    def _open(self, served: Served) -> None:
        served.deployment = self.facts
        self._front.open(served)
        self._current, self._since = served, datetime.now(UTC).isoformat(timespec="seconds")

    def _cast(self, served: Served | None) -> None:
        """Begin a comparison with what answers now, at zero: counts against two versions would mean nothing."""
        self._front.shadow = None
        if self._shadow is not None:
            self._shadow.stop()
        self._shadow = Shadow(served, live=self.current) if served is not None else None
        self._front.shadow = self._shadow

    async def _load_beside(self, word: str, folder: str, demands: Demands) -> Served:
        """A version that is fit to follow the one that answers, loaded in a thread, one at a time."""
        if self._loading is not None:
            raise Refused(f"a {self._loading} is under way; try again when it is done")
        current, self._loading = self.current, word
        work = _in_thread(partial(open_successor, Path(folder), current, demands, load=self._load))
        work.add_done_callback(self._loading_ended)
        try:
            new = await asyncio.wait_for(asyncio.shield(work), self._seconds)
        except BaseException as error:
            work.add_done_callback(_close)
            if isinstance(error, TimeoutError):
                raise Refused(f"{folder} was not ready within {self._seconds:g} s; it is not taken") from None
            raise
        # it was compared with what answered then
        if self._closed or current is not self.current:
            new.predictor.close()
            raise Refused("another version was switched to meanwhile; this one is not taken, try again")
        return new

    def _loading_ended(self, _: asyncio.Future[Served]) -> None:
        self._loading = None

    def _restore(self, original: Served) -> Served | None:
        """What this server was swapped to before its worker was replaced, verified again; None to go on as started."""
        choice = self._choices.read()
        if choice is None or choice.digest == original.artifact.digest:
            return None
        try:
            if self._choices.count_restore() > MOST_RESTORES:
                raise Refused("workers that served it died soon after one another")
            chosen = open_tried(Path(choice.folder), load=self._load)
            if chosen.artifact.digest != choice.digest:
                chosen.predictor.close()
                raise Refused(f"{choice.folder} holds another version now")
        except (Refused, OSError) as error:
            self._note = f"the worker was replaced and the version it was swapped to could not be loaded: {error}"
            LOG.error("restore: %s is served; %s", _name(original), self._note)
            return None
        LOG.info("restore: %s -> %s", _name(original), _name(chosen))
        return chosen

    async def _remember(self) -> None:
        """So that a worker that replaces this one serves the same; a full disk must not undo a swap."""
        async with self._remembering:
            artifact = self.current.artifact
            try:
                if self._original is None or artifact.digest == self._original.artifact.digest:
                    self._choices.clear()
                else:
                    choice = Choice(str(artifact.folder), artifact.digest)
                    await asyncio.to_thread(self._choices.write, choice)
            except OSError as error:
                self._note = f"a replaced worker would serve the version of the start: {error.strerror}"
                LOG.warning("swap: %s", self._note)


def _in_thread(work: Callable[[], Served]) -> asyncio.Future[Served]:
    """Run `work` in a thread that holds up no exit: a hanging load must not keep a stopped server alive."""
    job: Future[Served] = Future()

    def run() -> None:
        try:
            job.set_result(work())
        except BaseException as error:
            job.set_exception(error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return asyncio.wrap_future(job)


def _let_go(held: list[Served | None]) -> None:
    """Free a version off the event loop, and give its memory back: glibc keeps what lies between living blocks."""
    held.clear()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _close(work: asyncio.Future[Served]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result().predictor.close()


def _name(served: Served) -> str:
    return f"{served.artifact.name} {served.version}"
