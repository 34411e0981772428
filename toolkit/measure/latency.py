"""What one row costs in process: a predictor called as a user calls it, one real example at a time.

Encoder, model and answer are all inside the clock. Every answer is checked against the first answer
to the same example: a wrong answer is not a fast one. Raw samples are kept; percentiles are printed
only with enough of them. Several predictors are measured in interleaved rounds, so that a machine
that slows down slows all of them.

Limits: nothing waits in a queue here, so these are service times, not what a user sees under load.
Python's garbage collector is off while the clock runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import DataError, RecipeError
from toolkit.measure.conditions import Conditions, Watch, collector_off
from toolkit.measure.timings import Comparison, Latency
from toolkit.measure.turns import Stretch, predictor_subject, spread
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent


def measure_latency(
    predictor: Predictor,
    examples: Sequence[Any],
    *,
    seconds: float = 10.0,
    warmup: float = 0.5,
    progress: Progress = silent,
) -> Latency:
    """Time single rows for `seconds`, after a whole pass over the examples and `warmup` seconds.

    At most 256 examples, evenly spread over those given, are cycled. Raises `DataError` without
    examples, `RecipeError` for a time that is not positive.
    """
    _check(examples, seconds, warmup)
    watch = Watch()
    bench = _Bench(predictor, examples)
    bench.warm(warmup)
    with collector_off():
        for slot in range(10):
            bench.run(seconds / 10)
            progress("bench", slot + 1, 10)
    return bench.latency(watch.conditions())


def measure_interleaved(
    predictors: Sequence[Predictor],
    examples: Sequence[Any],
    *,
    rounds: int = 5,
    seconds: float = 10.0,
    warmup: float = 0.5,
    progress: Progress = silent,
) -> Comparison:
    """Measure each predictor for `seconds` in all, spread over `rounds`; A B C A, then A C B A, and so on.

    The last A of a round is the noise floor and is no part of A's samples. Raises as
    `measure_latency`, and `RecipeError` without predictors or rounds.
    """
    _check(examples, seconds, warmup)
    if not predictors or rounds < 1:
        raise RecipeError(
            f"{len(predictors)} predictors in {rounds} rounds cannot be compared; give one or more of each"
        )
    watch = Watch()
    benches = [_Bench(predictor, examples) for predictor in predictors]
    again = _Bench(predictors[0], examples)
    for bench in (*benches, again):
        bench.warm(warmup)
    medians: list[tuple[float, ...]] = []
    with collector_off():
        for number in range(rounds):
            order = benches[1:] if number % 2 == 0 else benches[:0:-1]
            found = {id(bench): bench.run(seconds / rounds) for bench in (benches[0], *order, again)}
            medians.append(tuple(found[id(bench)] for bench in (*benches, again)))
            progress("bench", number + 1, rounds, f"p50 {medians[-1][0]:.2f} ms")
    conditions = watch.conditions()
    return Comparison(tuple(bench.latency(conditions) for bench in benches), tuple(medians))


class _Bench:
    """One predictor on the clock, and its turns so far."""

    def __init__(self, predictor: Predictor, examples: Sequence[Any]) -> None:
        self._rows = spread(examples)
        self._predictor = predictor
        self._subject = predictor_subject(predictor, self._rows)  # one whole pass, whose answers are those to expect
        self._turns: list[Stretch] = []

    def warm(self, seconds: float) -> None:
        """Answer the first row until `seconds` have passed."""
        end = time.perf_counter_ns() + int(seconds * 1e9)
        while time.perf_counter_ns() < end:
            self._predictor([self._rows[0]])

    def run(self, seconds: float) -> float:
        """Time single rows for `seconds`, at least one; return the median of this run in milliseconds."""
        self._turns.append(self._subject.run(seconds))
        return float(np.median(self._turns[-1].nanoseconds)) / 1e6

    def latency(self, conditions: Conditions) -> Latency:
        """What was measured so far."""
        samples = np.concatenate([turn.nanoseconds for turn in self._turns]).tolist()
        wrong = sum(turn.wrong for turn in self._turns)
        return Latency(tuple(samples), len(self._rows), wrong, self._predictor.runner.facts(), conditions)


def _check(examples: Sequence[Any], seconds: float, warmup: float) -> None:
    if not len(examples):
        raise DataError("there is no example to measure with; give some rows")
    if not seconds > 0 or not warmup >= 0:
        raise RecipeError(f"seconds is {seconds} and warmup {warmup}; seconds must be above 0, warmup not below")
