"""One row after the other with a clock around each, and what such a turn saw: times, and which answers were right.

Every answer is checked against a known one outside the clock: a wrong answer is not a fast one. What is timed by
turns is a `Subject`: a runner or predictor in this process (`OneByOne`), or a server over one connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from toolkit.predictor import Predictor
from toolkit.spec import Array

MAX_EXAMPLES = 256
SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Stretch:
    """Rows of one turn in the order asked: nanoseconds, int64 (rows,), and whether each answer was right, bool (rows,).

    `wrong` counts answers that were given and were not right; the others failed.
    """

    nanoseconds: Array
    right: Array
    wrong: int = 0

    @property
    def p50_ms(self) -> float | None:
        """Median of the right answers in milliseconds; None where there is none."""
        found = self.nanoseconds[self.right]
        return float(np.median(found)) / 1e6 if len(found) else None


NOTHING = Stretch(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))


class Subject(Protocol):
    """What can be asked one row after the other."""

    def run(self, seconds: float) -> Stretch:
        """Ask for `seconds`, at least once."""
        ...


class OneByOne:
    """Calls `ask` with one row after the other, in turn, and compares with the answer that `expected` has for it."""

    def __init__(
        self,
        ask: Callable[[Any], Any],
        rows: Sequence[Any],
        expected: Sequence[Any],
        same: Callable[[Any, Any], bool],
    ) -> None:
        self._ask, self._rows, self._expected, self._same = ask, rows, expected, same
        self._position = 0

    def run(self, seconds: float) -> Stretch:
        """Ask for `seconds`, at least once, from the row where the last turn ended."""
        ask, rows, expected, same = self._ask, self._rows, self._expected, self._same
        clock, times, right = time.perf_counter_ns, list[int](), list[bool]()
        position, end = self._position, time.perf_counter_ns() + int(seconds * 1e9)
        while True:
            row = rows[position]
            start = clock()
            answer = ask(row)
            stop = clock()
            times.append(stop - start)
            right.append(same(answer, expected[position]))
            position = (position + 1) % len(rows)
            if stop >= end:
                break
        self._position = position
        return Stretch(np.array(times, dtype=np.int64), np.array(right), right.count(False))


def spread(examples: Sequence[Any], most: int = MAX_EXAMPLES) -> list[Any]:
    """At most `most` of the examples, evenly spread over them."""
    count = min(len(examples), most)
    return [examples[i * len(examples) // count] for i in range(count)]


def predictor_subject(predictor: Predictor, examples: Sequence[Any]) -> OneByOne:
    """The predictor as a user calls it: encoder, model and answer inside the clock; right is its own first answer."""

    def same(found: Any, expected: Any) -> bool:
        return bool(found[0].label == expected[0].label and abs(found[0].score - expected[0].score) <= SCORE_TOLERANCE)

    rows = [[example] for example in examples]
    return OneByOne(predictor, rows, [predictor(row) for row in rows], same)


def runner_subject(predictor: Predictor, examples: Sequence[Any]) -> OneByOne:
    """The runner alone on rows that were encoded before; right are the logits that the predictor has for the row."""

    def same(found: Array, expected: Array) -> bool:
        # this stands between two runs: the cheapest check that a label or a score cannot slip through
        return bool(found.shape == expected.shape and np.abs(found - expected).max() <= SCORE_TOLERANCE)

    arrays = [predictor.encoder.encode([example]) for example in examples]
    return OneByOne(predictor.runner.run, arrays, [predictor.logits([example]) for example in examples], same)
