"""What a request asks of the model, on its way through the queue: alone, or in a run that it shares.

A run that is shared and fails is done again for each job by itself, so that the one at fault gets its problem and
the others their answers. What a job gets is bytes or an exception; one job's never reaches another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from toolkit.runners.cancel import Cancel, Cancelled
from toolkit.serving.batching import Batching
from toolkit.serving.served import Served
from toolkit.spec import Array

Outcome = bytes | BaseException


@dataclass(eq=False)
class Job:
    """One request. `alone` computes its whole answer; with `examples` and `finish` it may share a run.

    `finish` makes the answer of this job's own logits (rows, classes). `cost` is the milliseconds that it is
    expected to take by itself.
    """

    served: Served
    alone: Callable[[Cancel], bytes]
    examples: Sequence[Any] | None = None
    finish: Callable[[Array], bytes] | None = None
    rows: int = 1
    size: int = 0
    cost: float = field(init=False)

    def __post_init__(self) -> None:
        self.cost = self.batching.cost(self.rows, self.size)

    @property
    def batching(self) -> Batching:
        """How its model is batched."""
        return self.served.batching


class Run:
    """Jobs of one model in one run, and the word that ends it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs, self.cancel = tuple(jobs), Cancel()
        self._unwanted: set[Job] = set()

    @property
    def cost(self) -> float:
        """Milliseconds that the jobs would take one by one."""
        return sum(job.cost for job in self.jobs)

    def give_up(self, job: Job) -> None:
        """Nobody waits for `job` any more; with the last of them the run is ended."""
        self._unwanted.add(job)
        if len(self._unwanted) == len(self.jobs):
            self.cancel.cancel()

    def answer(self) -> list[Outcome]:
        """The outcome of each job, in their order; never raises."""
        if len(self.jobs) == 1:
            return [_attempt(partial(self.jobs[0].alone, self.cancel))]
        examples = [example for job in self.jobs for example in job.examples or ()]
        try:
            logits = self.jobs[0].served.predictor.logits(examples, self.cancel)
        except Cancelled as error:
            return [error] * len(self.jobs)
        except Exception:  # whoever is at fault is found by itself
            return [_attempt(partial(job.alone, self.cancel)) for job in self.jobs]
        outcomes: list[Outcome] = []
        start = 0
        for job in self.jobs:
            assert job.finish is not None
            outcomes.append(_attempt(partial(job.finish, logits[start : start + job.rows])))
            start += job.rows
        return outcomes


def _attempt(work: Callable[[], bytes]) -> Outcome:
    try:
        return work()
    except BaseException as error:  # carried to the event loop, which raises it
        return error
