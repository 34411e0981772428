"""Contestants side by side in one run: every row of the test split answered, then rounds of timed rows, interleaved.

In each round the reference comes first and last, the others between them, in turned order every second round; those
that wait are stopped. The reference against itself is the noise floor. Each answers the whole split before, unless
that takes longer than `ANSWER_SECONDS`: then what it answered is what it is judged by and timed on, and its row says
so. A contestant that fails on the way has its words in its row and the others go on.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.contestants import EAGER, Contestant
from benchmarks.peers.seats import Seat, seated
from benchmarks.peers.servers import PeerUnavailableError
from toolkit.data import Split
from toolkit.judge.flips import find_flips
from toolkit.judge.statistics import calibration_error, mcnemar_p, paired_interval, wilson_interval
from toolkit.measure.bootstrap import noise_floor, paired_ratio
from toolkit.measure.conditions import Watch
from toolkit.measure.samples import PERCENTILES, percentile_ms
from toolkit.spec import Array, softmax

TIMED_ROWS = 256
CHUNK = 25  # rows answered between two looks at the clock
ANSWER_SECONDS = 120.0
FIRST_SECONDS = 600.0  # for the first rows: torch.compile compiles in them
WAKE_SECONDS = 0.3


@dataclass(frozen=True)
class Length:
    """Seconds of each contestant in each of `rounds`, and how many rows of the split are answered before."""

    rounds: int
    seconds: float
    rows: int | None


@dataclass
class _Runner:
    """A seat, what it answered, and its timed rows so far."""

    seat: Seat
    texts: list[str]
    logits: Array
    answer_seconds: float

    def __post_init__(self) -> None:
        count = min(len(self.texts), TIMED_ROWS)
        self.cycle = [self.texts[index * len(self.texts) // count] for index in range(count)]
        self.found: list[dict[str, Any]] = []
        self.again: list[float] = []

    def turn(self, seconds: float, *, again: bool = False) -> None:
        """Wake up, time rows for `seconds`, sleep."""
        self.seat.resume()
        try:
            self.seat.ask({"texts": self.cycle, "seconds": WAKE_SECONDS}, timeout=60.0)
            found = self.seat.ask({"texts": self.cycle, "seconds": seconds}, timeout=60.0 + 2 * seconds)
        finally:
            self.seat.pause()
        if not found["whole_ns"]:
            raise PeerUnavailableError(f"{self.seat.one.name} answered no row of a round: {found['said']}")
        if again:
            self.again.append(_p50_ms(found["whole_ns"]))
        else:
            self.found.append(found)


def compete(
    made: Mapping[Contestant, Path],
    split: Split,
    checkpoint: Path,
    *,
    threads: int,
    cores: Sequence[int],
    length: Length,
    logs: Path,
    seed: int,
) -> dict[str, Any]:
    """`rows` by name (or `unavailable` words), the `noise_floor` and the conditions. Raises when the reference fails.

    `made` has the folder of each contestant's model, the reference `EAGER` among them.
    """
    watch, rows = Watch(), dict[str, Any]()
    texts = [str(text) for text in split.examples[: length.rows]]
    with contextlib.ExitStack() as stack:
        up: list[_Runner] = []
        for one, folder in made.items():
            try:
                seat = stack.enter_context(
                    seated(one, checkpoint, folder, threads=threads, cores=cores, logs=logs)
                )  # fmt: skip
                up.append(_answered(seat, texts))
                seat.pause()
            except PeerUnavailableError as error:
                _refuse(one, error, rows)
        reference = up[0]
        for number in range(length.rounds):
            print(f"{datetime.now(UTC):%H:%M:%S} round {number + 1} of {length.rounds}", file=sys.stderr, flush=True)
            for runner in [reference, *(up[1:] if number % 2 == 0 else up[:0:-1])]:
                try:
                    runner.turn(length.seconds)
                except PeerUnavailableError as error:
                    _refuse(runner.seat.one, error, rows)
                    up.remove(runner)
            reference.turn(length.seconds, again=True)
        for runner in up:
            rows[runner.seat.one.name] = {
                "facts": dict(runner.seat.facts), "ready_seconds": runner.seat.ready_seconds,
                "answer_seconds": runner.answer_seconds, "resident_mb": runner.seat.resident_mb(),
                "judged": _judged(reference, runner, np.asarray(split.labels)),
                "times": _times(reference, runner, seed),
            }  # fmt: skip
    medians = [_p50_ms(found["whole_ns"]) for found in reference.found]
    return {
        "rows": rows, "noise_floor": noise_floor(medians, reference.again, seed=seed),
        "again_p50_ms": reference.again, "conditions": watch.conditions().to_json(),
    }  # fmt: skip


def _refuse(one: Contestant, error: PeerUnavailableError, rows: dict[str, Any]) -> None:
    if one.name == EAGER:
        raise error
    print(f"{one.name}: {error}", file=sys.stderr, flush=True)
    rows[one.name] = {"unavailable": str(error)}


def _answered(seat: Seat, texts: Sequence[str]) -> _Runner:
    """All rows answered, or as many as fit into the time; the first ones may take long, they warm it."""
    logits: list[list[float]] = []
    started = time.monotonic()
    for start in range(0, len(texts), CHUNK):
        if start and time.monotonic() - started > ANSWER_SECONDS and seat.one.way != "compile":
            break
        logits += seat.ask({"answer": texts[start : start + CHUNK]}, timeout=FIRST_SECONDS)["logits"]
    found = np.array(logits, dtype=np.float64)
    if not np.isfinite(found).all():
        raise PeerUnavailableError(f"{seat.one.name} answered a logit that is no number")
    return _Runner(seat, list(texts[: len(logits)]), found, time.monotonic() - started)


def _judged(reference: _Runner, runner: _Runner, labels: Array) -> dict[str, Any]:
    """Accuracy, what changed against the reference on the same rows, calibration error, largest logit difference."""
    count = min(len(runner.logits), len(reference.logits))
    expected, found, labels = reference.logits[:count], runner.logits[:count], labels[:count]
    right, before = found.argmax(1) == labels, expected.argmax(1) == labels
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    flips = find_flips(softmax(expected), softmax(found), labels)
    return {
        "rows": count, "accuracy": wilson_interval(int(right.sum()), count).to_json(),
        "difference": paired_interval(gained, lost, count).to_json(), "mcnemar_p": mcnemar_p(gained, lost),
        "flips": {"count": flips.count, "right_to_wrong": flips.right_to_wrong, "wrong_to_right": flips.wrong_to_right},
        "calibration_error": calibration_error(softmax(found), labels),
        "largest_logit_difference": float(np.abs(expected - found).max()),
    }  # fmt: skip


def _times(reference: _Runner, runner: _Runner, seed: int) -> dict[str, Any]:
    """Pooled percentiles, rows a second, success, and how many times the reference's p50 the rounds show."""
    whole = [time for found in runner.found for time in found["whole_ns"]]
    model = [time for found in runner.found for time in found["model_ns"]]
    wrong, failed = (sum(found[name] for found in runner.found) for name in ("wrong", "failed"))
    medians = [_p50_ms(found["whole_ns"]) for found in runner.found]
    against = [_p50_ms(found["whole_ns"]) for found in reference.found]
    return {
        "asked": len(whole) + failed, "right": len(whole) - wrong, "wrong": wrong, "failed": failed,
        "said": next((found["said"] for found in runner.found if found["said"]), ""),
        "success_rate": (len(whole) - wrong) / (len(whole) + failed), "samples": len(whole),
        **{name: percentile_ms(whole, name) for name in PERCENTILES},
        "rate": 1e9 / float(np.mean(whole)), "model": {name: percentile_ms(model, name) for name in PERCENTILES},
        "rounds_p50_ms": medians, "faster": paired_ratio(against, medians, seed=seed).to_json(),
    }  # fmt: skip


def _p50_ms(nanoseconds: Sequence[int]) -> float:
    return float(np.median(nanoseconds)) / 1e6
