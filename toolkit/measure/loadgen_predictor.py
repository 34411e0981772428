"""A predictor in this process that answers LoadGen's queries.

No exception may leave `issue`: LoadGen is C++ and would end the process. What the model raises is a
query without an answer, counted under its name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from toolkit.measure.client import Reply, clock
from toolkit.measure.loadgen_verdicts import Query, Verdicts
from toolkit.measure.turns import SCORE_TOLERANCE
from toolkit.predictor import Prediction, Predictor


class PredictorSubject:
    """`expected` are the right answers, one an example; `rows` is how many the predictor is given at once.

    With `waits` it has a thread of its own and takes queries first come, first served; without, it is
    called on LoadGen's thread, which waits for the answer anyhow.
    """

    def __init__(
        self,
        predictor: Predictor,
        examples: Sequence[Any],
        expected: Sequence[Prediction],
        *,
        waits: bool,
        rows: int = 1,
    ) -> None:
        self.verdicts = Verdicts()
        self.failure: Exception | None = None
        self._predictor, self._examples, self._expected, self._rows = predictor, examples, expected, rows
        self._abandoned = False
        self._due: SimpleQueue[list[Query] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="loadgen subject", daemon=True) if waits else None
        if self._thread is not None:
            self._thread.start()

    def issue(self, handles: list[int], rows: list[int]) -> None:
        """LoadGen's call: these are due."""
        queries = self.verdicts.begin(handles, rows)
        if self._thread is None:
            self._answer(queries)
        else:
            self._due.put(queries)

    def abandon(self) -> None:
        """Answer whatever is still asked with nothing, at once."""
        self._abandoned = True

    def close(self) -> None:
        """End the thread, once everything that was asked is over."""
        if self._thread is not None:
            self._due.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (queries := self._due.get()) is not None:
            for start in range(0, len(queries), self._rows):
                self._answer(queries[start : start + self._rows])

    def _answer(self, queries: list[Query]) -> None:
        started, error = clock(), "abandoned"
        answers: list[Prediction] = []
        if not self._abandoned:
            try:
                answers = self._predictor([self._examples[query.row] for query in queries])
            except Exception as failure:
                error = type(failure).__name__
        self.verdicts.end(queries, Reply(200 if answers else 0, b"", False, clock(), "" if answers else error))
        for query in queries:
            self.verdicts.started[query.place] = started
        for query, answer in zip(queries, answers, strict=False):
            self.verdicts.right[query.place] = is_same(answer, self._expected[query.row])


def is_same(answer: Prediction, expected: Prediction) -> bool:
    """The same label, its score within 1e-3."""
    return answer.label == expected.label and abs(answer.score - expected.score) <= SCORE_TOLERANCE


def answer_once(predictor: Predictor, examples: Sequence[Any]) -> tuple[list[Prediction], list[float]]:
    """The answers to one row at a time, and the seconds that each took; this warms the predictor up as well."""
    answers: list[Prediction] = []
    seconds = []
    for example in examples:
        start = time.perf_counter()
        answers += predictor([example])
        seconds.append(time.perf_counter() - start)
    return answers, seconds
