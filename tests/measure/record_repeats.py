"""Records tests/measure/bench_repeats.json: one real model benched again and again, each time in a process of its own.

::

    PYTHONPATH=. python tests/measure/record_repeats.py [RUNS]

Every third run is of a build that takes 20 % longer. The runs are what `toolkit.measure.against` is judged
by: what a machine makes out of nothing between two runs is found by running twice, not by drawing numbers.

"model" runs are of a transformer in this process, as toolkit bench measures it; the slower build keeps the
processor for a fifth of the time that an answer took. "server" runs are over HTTP, of a server that waits
50 ms before it answers, or 60: what a busy machine adds to that is small, as it is for a model on an idle one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from toolkit.machine import describe_machine
from toolkit.measure.conditions import Watch
from toolkit.measure.ladder import HTTP, PREDICTOR, RUNNER, measure_rungs
from toolkit.measure.load import Request
from toolkit.measure.rung import compare_rungs
from toolkit.measure.served_rungs import OverHttp
from toolkit.measure.turns import OneByOne, predictor_subject, runner_subject
from toolkit.predictor import Predictor

SERVER = Path(__file__).with_name("answering_server.py")
REPEATS = Path(__file__).with_name("bench_repeats.json")
SLOWED = 1.2
ROUNDS = 5
SIZES = {"width": 64, "heads": (4, 4), "head_width": 16, "feed_forward": (256, 256)}
KEPT = ("asked", "right", "rounds_p50_ms")
WAIT_MS = 50.0
SERVERS = 4  # at once: they mostly wait
SECONDS = {"server": 7.5, "model": 1.0}  # 20 answers a round and more


class Slowed(OneByOne):
    """What `subject` asks, and the processor kept until `SLOWED` times as long has passed."""

    def __init__(self, subject: OneByOne) -> None:
        super().__init__(self._slowly, subject._rows, subject._expected, subject._same)
        self._subject = subject

    def _slowly(self, row: Any) -> Any:
        start = time.perf_counter_ns()
        answer = self._subject._ask(row)
        end = start + SLOWED * (time.perf_counter_ns() - start)
        while time.perf_counter_ns() < end:
            pass
        return answer


def measure_server(seconds: float, slow: bool) -> dict[str, Any]:
    """One run against a server of its own: its rung, noise floor and conditions."""
    watch = Watch()
    with subprocess.Popen([sys.executable, str(SERVER), "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            wait = WAIT_MS * (SLOWED if slow else 1)
            rungs = measure_rungs(
                [{HTTP: OverHttp(url, [Request("/", f"sleep {wait}".encode())])}], rounds=ROUNDS, seconds=seconds
            ).rungs(0)
        finally:
            process.kill()
    return _kept(rungs, watch, slow)


def measure_model(folder: str, seconds: float, slow: bool) -> dict[str, Any]:
    """One run of the artifact in `folder` on the texts on stdin: its rungs, noise floors and conditions."""
    texts, watch = json.loads(sys.stdin.read()), Watch()
    with Predictor.load(folder, threads=1) as predictor:
        subjects = {RUNNER: runner_subject(predictor, texts), PREDICTOR: predictor_subject(predictor, texts)}
        if slow:
            subjects = {name: Slowed(subject) for name, subject in subjects.items()}
        rungs = measure_rungs([subjects], rounds=ROUNDS, seconds=seconds).rungs(0)
    return _kept(rungs, watch, slow)


def _kept(rungs: dict[str, Any], watch: Watch, slow: bool) -> dict[str, Any]:
    floors, _ = compare_rungs([{"name": "one", "rungs": rungs}], seed=0)
    kept = {name: {key: rung[key] for key in KEPT} for name, rung in rungs.items()}
    return {"slowed": slow, "rungs": kept, "noise_floor": floors, "conditions": watch.conditions().to_json()}


def record(runs: int) -> None:
    """Make the model, measure both `runs` times, and write the file after each."""
    from small_classifiers import TEXTS, make_classifier

    from toolkit.export.onnx import export

    found: dict[str, list[dict[str, Any]]] = {"server": [], "model": []}
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(SERVERS) as pool:
        folder = Path(place) / "model"
        export(make_classifier("transformer", **SIZES), folder, examples=TEXTS)

        def once(what: str, number: int) -> dict[str, Any]:
            command = [sys.executable, __file__, what, str(int(number % 3 == 2)), str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, input=json.dumps(TEXTS))
            return dict(json.loads(done.stdout.splitlines()[-1]))

        measured = {"server": pool.map(lambda n: once("server", n), range(runs)),
                    "model": (once("model", n) for n in range(runs))}  # fmt: skip
        for what, results in measured.items():
            for number, result in enumerate(results):
                found[what].append(result)
                write(found)
                sys.stderr.write(f"{what}: {number + 1} of {runs}\n")


def write(found: dict[str, list[dict[str, Any]]]) -> None:
    """The file as it stands: a recording that is cut short is a shorter one."""
    value = {"date": time.strftime("%Y-%m-%d"), "seconds": SECONDS, "machine": describe_machine().to_json()}
    lines = [f"{json.dumps(what)}: [\n" + ",\n".join(map(json.dumps, runs)) + "\n]" for what, runs in found.items()]
    REPEATS.write_text(json.dumps(value)[:-1] + ", " + ", ".join(lines) + "}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    match sys.argv[1:]:
        case ["server", slow, _]:
            sys.stdout.write(json.dumps(measure_server(SECONDS["server"], slow == "1")) + "\n")
        case ["model", slow, folder]:
            sys.stdout.write(json.dumps(measure_model(folder, SECONDS["model"], slow == "1")) + "\n")
        case [*runs]:
            record(int(runs[0]) if runs else 60)
