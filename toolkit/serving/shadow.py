"""A new version beside the one that answers: the same requests, no client, how often they agree.

Copies of answered requests wait in a short queue for one thread of low priority; when it is busy they
are dropped and counted, so a shadow costs the hot path microseconds and never a place in its queue.
It sees the rows that come, not a sample of all: under load, the ones that came when it was idle.

Nothing of a request is stored or logged: counts, labels (which are the model's) and times only.
Agreement comes with Wilson's 95 % interval, the difference of scores is that of the label that was
answered, and every fourth request is run by both models in this thread, in alternating order, so that
the ratio of their times is of the same rows on the same load.

Cost: a third model in memory, and processor time that is otherwise idle. The thread shares the GIL:
encoding in pure Python can hold up the loop by the interpreter's switch interval (5 ms at most).
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

from toolkit.judge.statistics import wilson_interval
from toolkit.serving.served import Served

ROOM = 16
ROWS = 16  # of one request at most; more would only be dropped behind it
EVERY = 4
TIMES = 512
NICE = 10


@dataclass(frozen=True)
class _Answered:
    example: Any
    label: str | None  # None for the task recommend, whose records get a score only
    score: float


class Shadow:
    """See the module; its methods may be called from any thread. It owns a thread until `stop`."""

    def __init__(self, served: Served, *, live: Served, room: int = ROOM) -> None:
        self.served, self._live = served, live
        self._queue: Queue[list[_Answered]] = Queue(room)
        self._lock = threading.Lock()
        self._stopped = False
        self._offered = self._dropped = self._failed = self._rows = self._agreed = 0
        self._answered: Counter[str] = Counter()
        self._disagreed: Counter[str] = Counter()
        self._largest = 0.0
        self._times: deque[tuple[float, float]] = deque(maxlen=TIMES)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, examples: Sequence[Any], predictions: Sequence[Mapping[str, Any]]) -> None:
        """Take a copy of an answered request, or drop it; takes microseconds and never raises.

        `examples` are the inputs as they were sent, `predictions` what the client got.
        """
        if self._stopped:
            return
        dropped = failed = 0
        try:
            self._queue.put_nowait(
                [
                    _Answered(examples[answer.get("index", row)], answer.get("label"), answer["score"])
                    for row, answer in enumerate(predictions[:ROWS])
                ]
            )
        except Full:
            dropped = 1
        except Exception:  # a comparison is never worth a client's answer
            failed = 1
        with self._lock:
            self._offered += 1
            self._dropped += dropped
            self._failed += failed

    def facts(self) -> dict[str, Any]:
        """Plain JSON: how much was compared, agreement, scores, times; None for what nothing is known of."""
        with self._lock:
            rows, agreed, largest, times = self._rows, self._agreed, self._largest, list(self._times)
            counts = {"requests": self._offered, "dropped": self._dropped, "failed": self._failed, "rows": rows}
            labels = {label: {"rows": n, "differ": self._disagreed[label]} for label, n in self._answered.items()}
        return {
            "served": self.served.identity,
            "against": self._live.identity,
            **counts,
            "agreement": wilson_interval(agreed, rows).to_json() if rows else None,
            "largest_score_difference": largest if rows else None,
            "disagreements": labels,
            "latency": _latency(times),
        }

    def stop(self) -> None:
        """Take no more and forget what waits; its thread ends after the run in hand."""
        self._stopped = True
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        with suppress(Full):
            self._queue.put_nowait([])  # wakes it

    def _work(self) -> None:
        # the runtime runs one-thread models on the thread that calls, so this is what they run at
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        turn = 0
        while not self._stopped:
            answered = self._queue.get()
            if self._stopped or not answered:
                continue
            turn += 1
            try:
                self._compare(answered, turn)
            except Exception:  # its message may quote a value; the count is what can be told
                with self._lock:
                    self._failed += 1

    def _compare(self, answered: Sequence[_Answered], turn: int) -> None:
        inputs = [answer.example for answer in answered]
        both = turn % EVERY == 0
        # in turn, so that neither has the warmer cache every time
        before = _timed(self._live, inputs) if both and turn % (2 * EVERY) == 0 else None
        started = time.perf_counter()
        scores = self.served.scores(self.served.examples(inputs))
        seconds = time.perf_counter() - started
        if both:
            before = before if before is not None else _timed(self._live, inputs)
        labels = self.served.spec.labels
        with self._lock:
            if before is not None:
                self._times.append((before, seconds))
            for answer, row in zip(answered, scores, strict=True):
                if answer.label is None:
                    # a recommender agrees where both would recommend a record, or neither
                    word = labels[-1] if answer.score >= 0.5 else labels[0]
                    agreed, own = (answer.score >= 0.5) == (row[-1] >= 0.5), float(row[-1])
                else:
                    word, agreed = answer.label, labels[row.argmax()] == answer.label
                    own = float(row[labels.index(word)]) if word in labels else 0.0
                self._rows += 1
                self._agreed += agreed
                self._answered[word] += 1
                self._disagreed[word] += not agreed
                self._largest = max(self._largest, abs(own - answer.score))


def _latency(times: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Medians of (live, shadow) seconds, and of their ratio."""
    if not times:
        return {"pairs": 0, "live_p50_ms": None, "shadow_p50_ms": None, "ratio_p50": None}
    live, own = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    ratio = statistics.median(shadow / (seconds or 1e-9) for seconds, shadow in times)
    return {"pairs": len(times), "live_p50_ms": live, "shadow_p50_ms": own, "ratio_p50": ratio}


def _timed(served: Served, inputs: list[Any]) -> float:
    started = time.perf_counter()
    served.scores(served.examples(inputs))
    return time.perf_counter() - started
