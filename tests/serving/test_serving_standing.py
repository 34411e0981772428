"""Real servers that stand for a benchmark: stopped while others are measured, known to be dead when they are."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from toolkit.artifact import Artifact
from toolkit.measure.served_rungs import requests_for
from toolkit.predictor import Predictor
from toolkit.serving.standing import ServerGoneError, Standing, _lives, cores, on_core, stand

ROWS = ["Where is Lisbon ?", "What is an atom ?"]


def states(one: Standing) -> set[str]:
    return {process.status() for process in one.processes}


def test_it_is_stopped_but_for_its_turns_and_a_dead_worker_is_noticed(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    artifact = artifacts["text"]
    with Predictor.load(artifact) as predictor:
        requests = requests_for(predictor, ROWS)
    core, generator = cores(1)
    before = os.sched_getaffinity(0)
    with stand(artifact, name="questions", folder=tmp_path, threads=1, objective_ms=500, core=core,
               generator=generator) as one:  # fmt: skip
        assert states(one) == {psutil.STATUS_STOPPED}
        assert len(one.processes) >= 2, "the server and its worker"
        if core is not None:
            assert {tuple(process.cpu_affinity()) for process in one.processes} == {(core,)}
        found = one.subject(requests, seed=0).run(0.5)
        assert found.right.all()
        assert states(one) == {psutil.STATUS_STOPPED}
        assert os.sched_getaffinity(0) == before
        one.check()
        with one.awake():
            if generator is not None:
                assert os.sched_getaffinity(0) == {generator}
            os.kill(one.processes[-1].pid, signal.SIGKILL)
            deadline = time.monotonic() + 20
            while not one.dead and time.monotonic() < deadline:
                time.sleep(0.05)
        assert one.dead
        with pytest.raises(ServerGoneError, match=f"questions died.*process {one.processes[-1].pid} is gone"):
            one.check()
    assert one.server.process.poll() is not None
    assert not any(_lives(process) for process in one.processes)


def test_nothing_is_left_of_a_server_that_was_killed(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    with stand(artifacts["text"], name="questions", folder=tmp_path, threads=1, objective_ms=500, core=None,
               generator=None) as one:  # fmt: skip
        one.processes[0].kill()
        one.server.process.wait(10)
        assert "it ended with -9" in one.trouble
    deadline = time.monotonic() + 10  # whoever inherited them has yet to see that they ended
    while any(_lives(process) for process in one.processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(process) for process in one.processes)


def test_more_threads_than_one_are_not_pinned() -> None:
    assert cores(2) == (None, None)
    before = os.sched_getaffinity(0)
    with on_core(None):
        assert os.sched_getaffinity(0) == before
    core = min(before)
    with on_core(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
