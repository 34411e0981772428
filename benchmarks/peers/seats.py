"""A contestant's model made, and its process started, told what to do, paused and ended.

A model is made once for the weights, the locked environment and the script that makes it, under `.cache/peers/models`.
Every process has a home of its own there, is told that it is offline, and has the threads that it is given, no more.
Whatever a contestant cannot do ends in `PeerUnavailableError` with its own last words.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import Contestant
from benchmarks.peers.servers import ENVIRONMENTS, HERE, ROOT, PeerUnavailableError, python_of
from toolkit.errors import require

MODELS = ENVIRONMENTS / "models"
MAKE_SECONDS = 900.0
START_SECONDS = 180.0
LONGEST_WORDS = 300


@dataclass(frozen=True)
class Made:
    """Where a contestant's model lies, and how long it took to make."""

    folder: Path
    seconds: float


def make(one: Contestant, checkpoint: Path, *, exported: Path | None, texts: Path) -> Made:
    """The model of `one` from the Hugging Face folder `checkpoint`, made unless it is there."""
    if not one.makes:
        return Made(checkpoint, 0.0)
    script = HERE / one.file
    decisive = [HERE / one.environment / "requirements.txt", script, checkpoint / "model.safetensors"]
    decisive += [exported, texts] if exported else []
    key = hashlib.sha256(b"".join(path.read_bytes() for path in decisive)).hexdigest()[:16]
    folder = MODELS / f"{one.slug}-{key}"
    mark = folder / "made.json"
    if mark.is_file():
        return Made(folder, float(json.loads(mark.read_text())["seconds"]))
    python = python_of(one.environment)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    command = [str(python), str(script), one.way, "make", str(checkpoint), str(partial)]
    command += [str(exported), str(texts)] if exported else []
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=partial, env=environment(threads=None), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=MAKE_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PeerUnavailableError(f"{one.name} was not made in {MAKE_SECONDS:.0f} s") from None
    (MODELS / f"{one.slug}.log").write_text(done.stdout)
    if done.returncode:
        raise PeerUnavailableError(f"{one.name} cannot be made: {last_words(done.stdout)}")
    seconds = time.monotonic() - started
    (partial / "made.json").write_text(json.dumps({"seconds": seconds}))
    partial.rename(folder)
    return Made(folder, seconds)


def last_words(text: str) -> str:
    """The last line of an output that says what went wrong: the last with "Error" or "Exception", else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["nothing"]
    telling = [line for line in lines if "Error" in line or "Exception" in line]
    # what a command's caller says of it ("returned non-zero exit status") is no word of its own
    own = [line for line in telling if "non-zero exit status" not in line]
    return (own or telling or lines)[-1][:LONGEST_WORDS]


def environment(*, threads: int | None) -> dict[str, str]:
    """What a contestant's process has in its environment; `threads` None leaves the libraries their own number."""
    home = ENVIRONMENTS / "home"
    home.mkdir(parents=True, exist_ok=True)
    found = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "OMP_", "PYTHON"))},
        "PYTHONPATH": str(ROOT), "HOME": str(home), "HF_HOME": str(home / "huggingface"), "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor"),
    }  # fmt: skip
    if threads is not None:
        found |= {"THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    return found


@dataclass(frozen=True)
class Seat:
    """A contestant's process that is ready; `facts` are what it says of itself."""

    one: Contestant
    process: subprocess.Popen[bytes]
    log: Path
    facts: Mapping[str, Any]
    ready_seconds: float

    def ask(self, task: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
        """One task, one answer; raises `PeerUnavailableError` when it ends or is silent for `timeout` seconds."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it said before it ended is told below
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
        return _read(self.one, self.process, self.log, timeout)

    def pause(self) -> None:
        """Stop its processes where they are: no thread of one that waits may take time from one that runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    def resident_mb(self) -> float:
        """Resident set size of its process."""
        psutil = require("psutil", extra="serve")
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)


@contextlib.contextmanager
def seated(
    one: Contestant, checkpoint: Path, folder: Path, *, threads: int, cores: Sequence[int], logs: Path
) -> Iterator[Seat]:
    """Start `one`, wait until it is ready, end it after. Raises `PeerUnavailableError`."""
    python = python_of(one.environment)
    arguments = [str(one.artifact)] if one.artifact else [one.way, "run", str(checkpoint), str(folder)]
    command = [str(python), str(HERE / one.file), *arguments]
    if cores:
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    log = logs / f"{one.slug}-{threads}.log"
    started = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=logs,
            env=environment(threads=threads), start_new_session=True,
        )  # fmt: skip
    try:
        facts = _read(one, process, log, START_SECONDS)
        yield Seat(one, process, log, facts, time.monotonic() - started)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _read(one: Contestant, process: subprocess.Popen[bytes], log: Path, timeout: float) -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    line = process.stdout.readline() if ready else b""
    if not ready:
        raise PeerUnavailableError(f"{one.name} said nothing for {timeout:.0f} s")
    if not line:
        process.wait()
        raise PeerUnavailableError(
            f"{one.name} ended with {process.returncode}: {last_words(log.read_text(errors='replace'))}"
        )
    return dict(json.loads(line))
