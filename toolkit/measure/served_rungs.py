"""The rungs of a server that is known by its URL: one connection, the peak under an objective, shares of that peak.

The *peak* is the highest rate of Poisson arrivals at which p99 is shown to be within the objective (LoadGen's
early-stopping counts, 99 % confidence) and at least 999 of 1,000 get a right answer: doubled until it does not hold,
then bisected. A rate that the generator itself could not offer in time says nothing about the server: it is tried
once more, and if that slips too, the search ends below it and says so.

Latency counts from the time a request was due, so a server that stalls cannot hide it.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.measure.early_stopping import holds, queries_needed
from toolkit.measure.load import Request, run_closed
from toolkit.measure.load_samples import Samples
from toolkit.measure.rung import histogram, stretch_of
from toolkit.measure.turns import SCORE_TOLERANCE, Stretch
from toolkit.predictor import Predictor

SHARES = (0.25, 0.5, 0.75, 0.9)
LEAST_SUCCESS = 0.999
TIMEOUT_SECONDS = 5.0
ARRIVALS = 1001  # p99 may then be shown with three late ones
LONGEST_PROBE = 60.0
MOST_RATE = 8000.0  # what a generator on one core can offer
RESOLUTION = 1 / 16  # of the rate, where the search ends
HALVINGS = 4
MOST_SLIPS = 3  # rates that the generator could not offer in time, each tried twice: then it is the machine
LATE = "the generator, which was late itself"
WAKE_SECONDS = 0.2

Offer = Callable[[float, float], Samples]


class OverHttp:
    """One connection to a server as a `Subject`; `awake` is entered for the turn, for a server that else is stopped."""

    def __init__(
        self,
        url: str,
        requests: Sequence[Request],
        *,
        awake: Callable[[], AbstractContextManager[object]] = nullcontext,
        seed: int = 0,
    ) -> None:
        self._url, self._requests, self._awake, self._seed = url, requests, awake, seed

    def run(self, seconds: float) -> Stretch:
        """Ask for `seconds`, after a moment to wake up."""
        with self._awake():
            self._load(min(WAKE_SECONDS, seconds))
            return stretch_of(self._load(seconds))

    def _load(self, seconds: float) -> Samples:
        return run_closed(
            self._url, self._requests, connections=1, seconds=seconds, timeout=TIMEOUT_SECONDS, seed=self._seed
        )


@dataclass(frozen=True)
class Probe:
    """One rate that was tried: whether the objective is shown to hold, None where too few came to tell."""

    rate: float
    holds: bool | None
    valid: bool
    asked: int
    success_rate: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Peak:
    """The highest rate that was shown to hold, None where none was; `limit` says what stood against a higher one."""

    rate: float | None
    objective_ms: float
    probes: tuple[Probe, ...]
    limit: str

    @property
    def slipped(self) -> bool:
        """True when the generator, not the server, ended the search."""
        return self.limit == LATE

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; without a rate where there is none."""
        found: dict[str, Any] = {"objective_ms": self.objective_ms, "limit": self.limit}
        if self.rate is not None:
            found["rate"] = self.rate
        return found | {"probes": [probe.to_json() for probe in self.probes]}


def requests_for(predictor: Predictor, examples: Sequence[Any]) -> list[Request]:
    """One request an example, whose right answer is what `predictor` says in this process: label, and score to 1e-3.

    Raises `DataError` for an example that cannot be sent as JSON.
    """
    task, path = predictor.spec.task, "recommend" if predictor.spec.task == "recommend" else "classify"
    found = []
    for position, example in enumerate(examples):
        try:
            body = json.dumps({"inputs": [_sendable(example) if task == "image" else example]}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"row {position} cannot be sent to a server as JSON: {error}") from None
        if task == "recommend":
            check = _checker(None, float(predictor.probabilities([example])[0, -1]))
        else:
            answer = predictor([example])[0]
            check = _checker(answer.label, answer.score)
        found.append(Request(f"/v1/{path}", body.encode(), check=check))
    return found


def judge_load(samples: Samples, objective_ms: float) -> bool | None:
    """Whether p99 within the objective and 99.9 % success are shown; one without a right answer counts as late."""
    if not len(samples):
        return None
    if samples.success_rate < LEAST_SUCCESS:
        return False
    return holds(np.where(samples.right, samples.latency_ms, np.inf), objective_ms)


def long_enough(rate: float, seconds: float, longest: float = LONGEST_PROBE) -> float:
    """How long `rate` is to be offered: `seconds`, and up to `longest` where a p99 needs more arrivals."""
    return max(seconds, min(ARRIVALS / rate, longest))


def find_peak(
    offer: Offer, *, objective_ms: float, start: float, seconds: float, longest: float = LONGEST_PROBE
) -> Peak:
    """Double from `start` until it does not hold, halve if it never did, then bisect to 6 %; see the module.

    `offer(rate, seconds)` offers that load; what it raises ends the search. Each is offered for `seconds`, or as long
    as a p99 takes, or until a queue that grows by the resolution would be past the objective: up to `longest`.
    """
    seconds = max(seconds, min(objective_ms / 1e3 / RESOLUTION, longest))
    probes: list[Probe] = []
    low, high, limit = 0.0, 0.0, ""  # the highest rate that holds, the lowest that does not, and why not
    rate, halved = min(start, MOST_RATE), 0
    while True:
        found = _probe(offer, rate, objective_ms, long_enough(rate, seconds, longest), probes)
        if found.valid and found.holds:
            low = rate
            if rate >= MOST_RATE:
                return Peak(
                    rate, objective_ms, tuple(probes), f"the generator: no more than {MOST_RATE:g}/s is offered"
                )
        else:
            high, limit = rate, _why(found)
        halved += bool(high and not low)
        near = low and high and high - low <= RESOLUTION * high
        slips = sum(not probe.valid for probe in probes)
        if near or halved > HALVINGS or slips >= 2 * MOST_SLIPS:
            break
        rate = (low + high) / 2 if high else min(2 * low, MOST_RATE)
    return Peak(low or None, objective_ms, tuple(probes), limit)


def _probe(offer: Offer, rate: float, objective_ms: float, seconds: float, probes: list[Probe]) -> Probe:
    """Offer `rate`, once more where the generator was late; every try goes into `probes`."""
    for _ in range(2):
        samples = offer(rate, seconds)
        found = Probe(rate, judge_load(samples, objective_ms), samples.valid, len(samples), samples.success_rate)
        probes.append(found)
        if found.valid:
            break
    return found


def _why(probe: Probe) -> str:
    if not probe.valid:
        return LATE
    return "too few arrivals to tell" if probe.asked < queries_needed() else "the objective"


def open_steps(
    offer: Offer, peak: float, *, objective_ms: float, seconds: float, longest: float = LONGEST_PROBE
) -> list[dict[str, Any]]:
    """Open arrivals at 25, 50, 75 and 90 % of `peak`; a step whose schedule slipped is taken once more."""
    steps = []
    for share in SHARES:
        rate = share * peak
        samples = offer(rate, long_enough(rate, seconds, longest))
        if repeated := not samples.valid:
            samples = offer(rate, long_enough(rate, seconds, longest))
        steps.append(
            {
                "share": share,
                "offered": rate,
                "holds": judge_load(samples, objective_ms),
                **({"repeated": True} if repeated else {}),
                **samples.summary(objective_ms),
                "histogram": histogram(samples.latency_ms[samples.right]),
            }
        )
        time.sleep(WAKE_SECONDS)
    return steps


def _sendable(picture: Any) -> str:
    """A picture in base64; an array becomes a PNG, which keeps every pixel."""
    if not isinstance(picture, bytes):
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="PNG")
        picture = buffer.getvalue()
    return base64.b64encode(picture).decode()


def _checker(label: str | None, score: float) -> Callable[[bytes], bool]:
    def check(content: bytes) -> bool:
        try:
            found = json.loads(content)["predictions"][0]
            return bool((label is None or found["label"] == label) and abs(found["score"] - score) <= SCORE_TOLERANCE)
        except (ValueError, LookupError, TypeError):
            return False

    return check
