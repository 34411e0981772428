"""Which waiting requests share a run: those that it is cheaper to run together than one after another.

Nothing ever waits for company. While a run is under way requests gather, and the next run takes those that the
cost curve says are better off in it: no batch at one connection, larger ones as load grows. Rows of like length
come together by themselves, since a long row makes every short one beside it cost as much.

Compare Crankshaw et al. 2017 (Clipper), whose batches grow by trial until a latency objective is missed; here the
curve was measured beforehand, and nothing has to be missed to know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Protocol, TypeVar

from toolkit.measure.cost import CostCurve
from toolkit.predictor import Predictor
from toolkit.serving.settings import Settings

WINDOW = 64  # how far down the queue company is looked for: the choice stays cheaper than any run


class Sized(Protocol):
    """What the choice needs to know of a request."""

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Sized)


@dataclass(frozen=True)
class Batching:
    """How one artifact is batched, decided when it is opened; shown at /v1/model.

    `max_rows` is 1 where requests never share a run; `why` says why, `source` where the curve was measured.
    """

    curve: CostCurve
    max_rows: int
    why: str
    source: str

    def cost(self, rows: int, size: int) -> float:
        """Milliseconds of a run of `rows` that nobody shares."""
        known = self._costs[self.curve.kind(size)]
        return known[rows] if rows < len(known) else self.curve.cost(rows, size)

    def choose(self, head: T, waiting: Iterable[T]) -> list[T]:
        """`head` and those of `waiting`, oldest first, in whose company a run does most for its time.

        A run is judged by its cost over that of its requests one by one. For each length that it could have, requests
        join from the longest down: they gain most where a run is long anyway.
        """
        company = list(islice(waiting, WINDOW)) if head.rows < self.max_rows else []
        kinds = [self.curve.kind(other.size) for other in company]
        longest_first = sorted(range(len(company)), key=kinds.__getitem__, reverse=True)
        own = self.curve.kind(head.size)
        least, chosen, count = 1.0, list[int](), 0
        for kind in {own, *(kind for kind in kinds if kind > own)}:
            together = self._costs[kind]
            rows, apart, joined = head.rows, self.cost(head.rows, head.size), list[int]()
            for place in longest_first:
                more = company[place].rows
                if kinds[place] > kind or rows + more >= len(together):
                    continue
                joined.append(place)
                rows += more
                apart += self.cost(more, company[place].size)
                if together[rows] < least * apart:
                    least, chosen, count = together[rows] / apart, joined, len(joined)
        return [head, *(company[place] for place in sorted(chosen[:count]))]

    @cached_property
    def _costs(self) -> list[list[float]]:
        """Milliseconds of a run by the kind of its longest row and by how many rows it has, as far as is allowed."""
        return [
            [self.curve.cost(rows, size) for rows in range(min(self.max_rows, self.curve.largest(size)) + 1)]
            for size in self.curve.sizes
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"max_rows": self.max_rows, "why": self.why, "source": self.source, "cost": self.curve.to_json()}


def decide_batching(predictor: Predictor, curve: CostCurve, settings: Settings, *, source: str) -> Batching:
    """Whether requests may share runs of this predictor, and up to how many rows.

    Off where neighbours were seen to move an answer, or may (scales from the whole batch) and were never
    measured, unless the setting says always; off too where no batch is cheaper than its rows.
    """
    neighbours = curve.neighbours
    moves = predictor.artifact is not None and predictor.artifact.depends_on_batch
    if settings.batching == "off":
        return Batching(curve, 1, "switched off", source)
    if settings.batching == "auto":
        if neighbours is not None and not neighbours.harmless:
            moved = f"{neighbours.labels_moved} of {neighbours.rows} labels"
            return Batching(curve, 1, f"neighbours move {moved}, scores by {neighbours.score_difference:.2g}", source)
        if moves and neighbours is None:
            return Batching(
                curve, 1, "its scales come from the whole batch; toolkit bench measures what that moves", source
            )
    largest = min(settings.max_batch, predictor.batch_size, curve.rows[-1])
    pays = [
        r
        for line in curve.milliseconds
        for r, ms in zip(curve.rows, line, strict=False)
        if ms < r * line[0] and 1 < r <= largest
    ]
    if not pays:
        return Batching(curve, 1, "no batch is cheaper than its rows one by one", source)
    return Batching(curve, largest, "a batch is cheaper than its rows one by one", source)
