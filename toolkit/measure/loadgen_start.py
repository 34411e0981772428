"""Start LoadGen on a subject, wait for its end, and read what it wrote.

LoadGen keeps its state in the process: one run at a time. It cannot be stopped either, so after
Ctrl-C every query is answered with nothing and its seconds are waited for.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolkit.errors import InputError, require
from toolkit.measure.conditions import collector_off
from toolkit.measure.load_samples import Samples
from toolkit.measure.loadgen_log import read_result, read_samples
from toolkit.measure.loadgen_verdicts import Verdicts
from toolkit.progress import Progress

NAMES = {"single_stream": "SingleStream", "server": "Server", "offline": "Offline"}
MAX_QUERIES = 200_000  # of a stream or a batch: each leaves a kilobyte of trace on the disk
SWITCH_SECONDS = 0.0005  # Python's usual 5 ms would let a thread that answers hold the schedule up
_one_at_a_time = threading.Lock()


class Subject(Protocol):
    """What LoadGen asks; `verdicts` is complete once it is closed, `failure` what a check raised."""

    verdicts: Verdicts
    failure: Exception | None

    def issue(self, handles: list[int], rows: list[int]) -> None:
        """These queries are due; may return before they are answered."""

    def abandon(self) -> None:
        """Answer whatever is still asked with nothing, at once."""

    def close(self) -> None:
        """End the threads, once everything that was asked is over."""


@dataclass(frozen=True)
class Plan:
    """What LoadGen is told: `rate` is a second's queries (server) or the rows that a second may take (offline)."""

    scenario: str
    seconds: float
    seed: int
    rate: float
    bound_ms: float
    rows: int

    def settings(self, loadgen: Any) -> Any:
        """As LoadGen's `TestSettings`; its three seeds are drawn from the one."""
        made = loadgen.TestSettings()
        made.mode = loadgen.TestMode.PerformanceOnly
        made.scenario = getattr(loadgen.TestScenario, NAMES[self.scenario])
        made.min_duration_ms, made.min_query_count = max(1, round(self.seconds * 1e3)), 1
        seeds = np.random.SeedSequence(self.seed).generate_state(3, dtype=np.uint64).tolist()
        made.qsl_rng_seed, made.sample_index_rng_seed, made.schedule_rng_seed = seeds
        if self.scenario == "single_stream":
            # LoadGen draws its queries before: twice as many as this says would be needed
            made.single_stream_expected_latency_ns = max(1, round(1e9 / self.rate))
            made.max_query_count = MAX_QUERIES
        elif self.scenario == "server":
            made.server_target_qps = self.rate
            made.server_target_latency_ns, made.server_target_latency_percentile = round(self.bound_ms * 1e6), 0.99
        else:
            made.offline_expected_qps = self.rate
        return made


def start(
    subject: Subject, plan: Plan, progress: Progress, on_begin: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], Samples]:
    """Run it; the entries of LoadGen's detail log, and every query. `on_begin` is called when queries are issued.

    Raises `InputError` while another run goes on in this process, `MissingExtra` without LoadGen, and
    whatever a check of an answer raised.
    """
    loadgen = require("mlperf_loadgen", extra="bench")
    if not _one_at_a_time.acquire(blocking=False):
        subject.close()
        raise InputError("LoadGen runs already in this process, and can only once; wait for its end")
    try:
        with tempfile.TemporaryDirectory(prefix="loadgen-") as name, collector_off(), _switching_often():
            folder = Path(name)
            try:
                _run(loadgen, subject, plan, folder, progress, on_begin)
            finally:
                subject.close()
            if subject.failure is not None:
                raise subject.failure
            # of a server the schedule is as long as it was asked for; elsewhere the run ends when its work does
            offered = plan.seconds if plan.scenario == "server" else None
            return read_result(folder), read_samples(folder, subject.verdicts, offered)
    finally:
        _one_at_a_time.release()


def _run(
    loadgen: Any, subject: Subject, plan: Plan, folder: Path, progress: Progress, on_begin: Callable[[], None]
) -> None:
    output = loadgen.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = str(folder), False
    logs = loadgen.LogSettings()
    logs.log_output, logs.enable_trace = output, True
    settings = plan.settings(loadgen)

    def issue(handles: list[int], rows: list[int]) -> None:
        on_begin()
        subject.issue(handles, rows)

    system = loadgen.ConstructFastSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(plan.rows, plan.rows, lambda rows: None, lambda rows: None)
    # a file of this name in the folder would change the settings: one that is not there
    arguments = (system, library, settings, logs, str(folder / "none"))
    thread = threading.Thread(target=loadgen.StartTestWithLogSettings, args=arguments, name="loadgen", daemon=True)
    thread.start()
    try:
        waited = 0.0
        while thread.is_alive():
            thread.join(plan.seconds / 20)
            waited += plan.seconds / 20
            progress("loadgen", min(20, round(20 * waited / plan.seconds)), 20, plan.scenario)
    except BaseException:
        subject.abandon()
        raise
    finally:
        thread.join()
        loadgen.DestroyQSL(library)
        loadgen.DestroyFastSUT(system)


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
