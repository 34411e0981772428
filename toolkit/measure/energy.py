"""Joules, where the machine counts them.

::

    meter = Meter.open()
    meter.start()
    ...answers, with meter.read() now and then...
    energy = meter.stop()  # None where nothing counts; meter.why_not says why

A counter of the processor begins again at zero when it is full, a quarter of an hour on a large
server at full load: `read` has to be called more often than that, and once a round is.

Limits: counters are of a whole package or card, not of a process: whoever else runs is paid for too,
and so is idling. Power supply, fans and board are in none of them. Where a counter failed half way
there is no energy at all: half a sum would look like a saving.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import DataError
from toolkit.measure.energy_counters import POWERCAP, Counter, nvml_counters, rapl_counters

_NOTHING = "this machine has no energy counter: no RAPL in /sys/class/powercap, and no GPU was asked"


@dataclass(frozen=True)
class Energy:
    """Joules by counter, and the seconds that they were counted for."""

    joules_by: Mapping[str, float]
    seconds: float

    @property
    def joules(self) -> float:
        """All counters together."""
        return sum(self.joules_by.values())

    def per_thousand(self, answers: int) -> float:
        """Joules for 1,000 answers. Raises `DataError` when there were none."""
        if answers < 1:
            raise DataError(f"{answers} answers have no energy each; measure at least one")
        return 1000 * self.joules / answers

    def to_json(self, answers: int | None = None) -> dict[str, Any]:
        """Plain JSON values; with `answers` above 0, joules for 1,000 of them too."""
        value: dict[str, Any] = {
            "joules": self.joules,
            "seconds": self.seconds,
            "watts": self.joules / self.seconds,
            "joules_by": dict(self.joules_by),
        }
        if answers:
            value |= {"answers": answers, "joules_per_1000": self.per_thousand(answers)}
        return value


class Meter:
    """Counters that are read together.

    `why_not` says what is missing from the sum, or that nothing counts; empty when all was counted.
    """

    def __init__(self, counters: Sequence[Counter], why_not: str = "") -> None:
        self._counters = tuple(counters)
        self._started: float | None = None
        self.why_not = why_not or ("" if counters else _NOTHING)

    @classmethod
    def open(cls, root: Path = POWERCAP, *, gpus: Sequence[int | str] = (), nvml: Any | None = None) -> Meter:
        """The processors' packages and memory, and the GPUs named (see `visible_gpus`). Never raises.

        Name only GPUs that do the work: the idling of others would be counted. `nvml` None imports pynvml.
        """
        counters, problems = rapl_counters(root)
        if gpus:
            cards, more = nvml_counters(gpus, nvml)
            counters, problems = counters + cards, problems + more
        return cls(counters, "; ".join(problems))

    @property
    def names(self) -> tuple[str, ...]:
        """What is counted: package-0, package-0 dram, gpu 0."""
        return tuple(counter.name for counter in self._counters)

    def start(self) -> None:
        """Count from here; a second start begins anew."""
        self._started = time.perf_counter()
        for counter in self._counters:
            self._try(counter, counter.start)

    def read(self) -> None:
        """Take a reading, so that no counter fills twice between two."""
        for counter in self._counters:
            self._try(counter, counter.add)

    def stop(self) -> Energy | None:
        """What was used since `start`; None without a counter, without a start, or when one failed meanwhile."""
        if self._started is None or not self._counters:
            return None
        self.read()
        if self._started is None:  # that reading failed
            return None
        seconds, self._started = time.perf_counter() - self._started, None
        return Energy({counter.name: counter.joules for counter in self._counters}, seconds)

    def _try(self, counter: Counter, act: Callable[[], None]) -> None:
        if self._started is None:
            return
        try:
            act()
        except Exception as error:  # a driver's errors are classes of its own module
            self._started = None
            self.why_not = f"{counter.name} could not be read throughout: {error}"
