"""MLPerf's own generator, LoadGen, and its scenarios, on a predictor in this process or on a server.

- `single_stream`: one query after the other. Its figure is the 90th percentile with 99 % confidence.
- `server`: seeded Poisson arrivals of a rate, that wait for nobody; latency counts from when a query was
  due. Its figure is whether the p99 holds an objective.
- `offline`: everything at once. Its figure is rows a second.

Queries, their order and their times are LoadGen's. Answers are checked here, and percentiles are of
right answers and never of too few (`load_samples`). What LoadGen itself said stands beside. It costs
more than our own generator; `self_test` says how much. Needs `mlcommons-loadgen`, the extra [bench].
Source: MLPerf Inference rules; LoadGen 6.0, https://github.com/mlcommons/inference.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from ssl import SSLContext
from typing import Any

from toolkit.errors import DataError, InputError, RecipeError
from toolkit.measure.client import Server
from toolkit.measure.load import CONNECTIONS, TIMEOUT_SECONDS, Headers, Request, run_closed
from toolkit.measure.loadgen_http import HttpSubject
from toolkit.measure.loadgen_predictor import PredictorSubject, answer_once
from toolkit.measure.loadgen_run import LoadgenRun
from toolkit.measure.loadgen_start import MAX_QUERIES, NAMES, Plan, start
from toolkit.measure.turns import MAX_EXAMPLES
from toolkit.predictor import Prediction, Predictor
from toolkit.progress import Progress, silent

SCENARIOS = tuple(NAMES)
# at most this many requests in flight; offline has everything at hand, and needs a full server, not a full queue
IN_FLIGHT = {"single_stream": 1, "server": CONNECTIONS, "offline": 16}
CHUNK_BATCHES = 32  # that an offline predictor is given at once: it sorts them by length
WARMUP_SECONDS = 0.5


def run_loadgen(
    scenario: str,
    subject: Predictor | str,
    examples: Sequence[Any],
    *,
    seconds: float,
    seed: int = 0,
    rate: float | None = None,
    objective_ms: float | None = None,
    expected: Sequence[Prediction] | None = None,
    connections: int | None = None,
    timeout: float = TIMEOUT_SECONDS,
    headers: Headers = (),
    tls: SSLContext | None = None,
    progress: Progress = silent,
    on_begin: Callable[[], None] = lambda: None,
) -> LoadgenRun:
    """Offer a scenario for `seconds`, after a warm-up.

    `subject` is a predictor, and `examples` raw rows, of which 256 at most are used, evenly taken; or
    the URL of a server, and `examples` are `Request`s. `expected` has the right answer to each raw row;
    without it, the predictor's first answer is the one to repeat. `rate` is of the scenario server, in
    queries a second: without it, half of what one query after the other reached. `on_begin` is called
    whenever queries are issued, the first time after the warm-up.

    Raises `RecipeError` for a scenario, a time or a rate that cannot be, `DataError` without examples,
    `InputError` for a server that does not answer or while another run goes on in this process.
    """
    _check(scenario, examples, expected, seconds, rate, objective_ms)
    bound_ms = timeout * 1e3 if objective_ms is None else objective_ms
    in_flight = connections or IN_FLIGHT[scenario]
    made: HttpSubject | PredictorSubject
    if isinstance(subject, str):
        server = Server.of(subject, tls)
        pace = _pace_server(scenario, subject, examples, in_flight, timeout, headers, tls)
        made = HttpSubject(server, examples, connections=in_flight, timeout=timeout, headers=headers)
        rows = len(examples)
    else:
        rows = min(len(examples), MAX_EXAMPLES)
        kept = [i * len(examples) // rows for i in range(rows)]
        examples = [examples[i] for i in kept]
        answers, taken = answer_once(subject, examples)
        chunk = subject.batch_size * CHUNK_BATCHES if scenario == "offline" else 1
        pace = _pace_predictor(scenario, subject, examples, taken, chunk)
        right = answers if expected is None else [expected[i] for i in kept]
        made = PredictorSubject(subject, examples, right, waits=scenario != "single_stream", rows=chunk)
    if scenario != "server":
        pace = min(pace, MAX_QUERIES / seconds)
    plan = Plan(scenario, seconds, seed, rate or pace, bound_ms, rows)
    said, samples = start(made, plan, progress, on_begin)
    return LoadgenRun(plan, "http" if isinstance(subject, str) else "in process", samples, said, objective_ms)


def _pace_server(
    scenario: str, url: str, requests: Sequence[Request], in_flight: int, timeout: float, headers: Headers,
    tls: SSLContext | None,
) -> float:  # fmt: skip
    """Queries a second to plan with, after half a second of asking."""
    warm = run_closed(
        url, requests, connections=in_flight if scenario == "offline" else 1, seconds=WARMUP_SECONDS,
        timeout=timeout, headers=headers, tls=tls,
    )  # fmt: skip
    answered = warm.status != 0
    if not answered.any():
        raise InputError(f"{url} does not answer ({', '.join(warm.errors) or 'nothing'}); is the server running there?")
    if scenario == "single_stream":
        return float(1e3 / warm.latency_ms[answered].min())
    return float(answered.sum() / WARMUP_SECONDS) * (0.5 if scenario == "server" else 1.0)


def _pace_predictor(
    scenario: str, predictor: Predictor, examples: Sequence[Any], taken: list[float], chunk: int
) -> float:
    """Queries a second to plan with; `taken` are the seconds of single rows."""
    if scenario == "offline":
        whole = [examples[i % len(examples)] for i in range(chunk)]
        begun = time.perf_counter()
        predictor(whole)
        return chunk / (time.perf_counter() - begun)
    return 1 / min(taken) if scenario == "single_stream" else 0.5 / statistics.median(taken)


def _check(
    scenario: str, examples: Sequence[Any], expected: Sequence[Prediction] | None, seconds: float, rate: float | None,
    objective_ms: float | None,
) -> None:  # fmt: skip
    if scenario not in SCENARIOS:
        raise RecipeError(f"{scenario} is no scenario of LoadGen's here; give one of {', '.join(SCENARIOS)}")
    if not len(examples):
        raise DataError("there is no example to measure with; give some rows")
    if expected is not None and len(expected) != len(examples):
        raise DataError(f"{len(expected)} answers are expected to {len(examples)} examples; give one for each")
    if rate is not None and scenario != "server":
        raise RecipeError(f"{scenario} has no rate; leave it out, or take the scenario server")
    for name, value in (("seconds", seconds), ("rate", rate), ("objective_ms", objective_ms)):
        if value is not None and not 0 < value < float("inf"):
            raise RecipeError(f"{name} is {value}; it must be above 0")
