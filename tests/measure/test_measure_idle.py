"""A machine that is busy is said to be, and by whom; what this process does itself is not a neighbour."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from toolkit.measure.idle import Busy, Idleness, look_around

SPIN = "while True: pass"
# a grandchild whose parent has ended belongs to nobody here, as a neighbour's process does
ORPHAN = (
    "import subprocess, sys; quiet = subprocess.DEVNULL; "
    f"print(subprocess.Popen([sys.executable, '-c', {SPIN!r}], stdout=quiet, stderr=quiet).pid)"
)


@contextmanager
def neighbour() -> Iterator[int]:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True, timeout=30)
    pid = int(done.stdout)
    try:
        time.sleep(0.2)  # Python itself has to start
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_busy_neighbour_is_named() -> None:
    with neighbour() as pid:
        seen = look_around(1.0)
    assert pid in [one.pid for one in seen.busy]
    assert not seen.idle
    assert "is not idle" in seen.words
    assert "of a processor" in seen.words


def test_own_children_are_no_neighbours() -> None:
    child = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        time.sleep(0.2)
        seen = look_around(0.5)
    finally:
        child.kill()
        child.wait()
    assert {child.pid, os.getpid(), os.getppid()}.isdisjoint(one.pid for one in seen.busy)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Idleness(2.1, 0.0, (), 4), "the load average is 2.1 on 4 processors"),
        (Idleness(0.0, 0.02, (), 4), "the hypervisor takes 2.0% of the time"),
        (Idleness(0.0, 0.0, (Busy(7, "make (x)", 0.5),), 4), r"process 7 \(make \(x\)\) uses 50% of a processor"),
        (Idleness(0.0, 0.0, tuple(Busy(i, "x", 1.0) for i in range(9)), 4), "4 more processes are busy"),
    ],
)
def test_each_reason_alone_is_enough(seen: Idleness, words: str) -> None:
    assert not seen.idle
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(seen.words)
    assert seen.to_json()["idle"] is False


def test_what_is_unknown_is_no_reason() -> None:
    seen = Idleness(None, None, (), 4)
    assert seen.idle
    assert seen.words == "this machine is idle: load unknown, steal unknown, no other busy process"
    assert Idleness(2.0, 0.01, (), 4).idle, "at the limit it is still idle"
