"""What a fresh process pays for a model: memory, time to load, time to the first answer.

Measured in a process of its own, because one that has already loaded torch or another model tells
nothing::

    python -m toolkit.measure.footprint FOLDER [THREADS [PROVIDER]] < example.json

It reads one example from stdin and prints JSON. The first load includes the import of the runtime (a
cold start); the second, in the same process, is the loading of the model alone. Memory is read after
the first answer and before the second load. Only the standard library is imported before the first
reading of memory.

Limits: resident memory from /proc, so Linux only (elsewhere None); pages of shared libraries count.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Footprint:
    """Milliseconds, and resident bytes: of the bare process, with the model answering, and the highest ever."""

    cold_load_ms: float
    load_ms: float
    first_answer_ms: float
    bare_bytes: int | None
    resident_bytes: int | None
    peak_bytes: int | None

    @property
    def memory_bytes(self) -> int | None:
        """What runtime and model added to a bare Python process."""
        if self.resident_bytes is None or self.bare_bytes is None:
            return None
        return self.resident_bytes - self.bare_bytes

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "memory_bytes": self.memory_bytes}


def measure_footprint(folder: Path | str, example: Any, *, threads: int = 1, provider: str = "cpu") -> Footprint:
    """Load the artifact in `folder` in a fresh process and let it answer `example` once.

    Raises `ArtifactError` with the last line that the process said when it failed.
    """
    from toolkit.errors import ArtifactError

    command = [sys.executable, "-m", "toolkit.measure.footprint", str(Path(folder).resolve()), str(threads), provider]
    # the same toolkit as here, installed or not
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    sent = json.dumps(_pack(example)).encode()
    try:
        done = subprocess.run(
            command, input=sent, capture_output=True, timeout=TIMEOUT_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise ArtifactError(f"{folder} did not load and answer one row in {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise ArtifactError(f"{folder} could not be loaded in a fresh process: {said[-1]}")
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def _measure_here(folder: str, threads: int, provider: str, packed: Mapping[str, Any]) -> Footprint:
    """The work of the fresh process."""
    bare = _resident_bytes()
    start = time.perf_counter_ns()
    from toolkit.predictor import Predictor

    predictor = Predictor.load(folder, threads=threads, provider=provider)
    loaded = time.perf_counter_ns()
    example = _unpack(packed)
    asked = time.perf_counter_ns()
    predictor([example])
    answered = time.perf_counter_ns()
    resident, peak = _resident_bytes(), _peak_bytes()
    predictor.close()
    again = time.perf_counter_ns()
    Predictor.load(folder, threads=threads, provider=provider).close()
    return Footprint(
        cold_load_ms=(loaded - start) / 1e6,
        load_ms=(time.perf_counter_ns() - again) / 1e6,
        first_answer_ms=(answered - asked) / 1e6,
        bare_bytes=bare,
        resident_bytes=resident,
        peak_bytes=peak,
    )


def _pack(example: Any) -> dict[str, Any]:
    """An example as JSON: text and records as they are, bytes and arrays in base64."""
    if isinstance(example, bytes):
        return {"bytes": base64.b64encode(example).decode()}
    if hasattr(example, "tobytes"):  # a numpy array; numpy is not imported here
        content = base64.b64encode(example.tobytes()).decode()
        return {"array": content, "dtype": str(example.dtype), "shape": list(example.shape)}
    return {"json": example}


def _unpack(packed: Mapping[str, Any]) -> Any:
    if "json" in packed:
        return packed["json"]
    if "bytes" in packed:
        return base64.b64decode(packed["bytes"])
    import numpy as np

    return np.frombuffer(base64.b64decode(packed["array"]), dtype=packed["dtype"]).reshape(packed["shape"])


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _peak_bytes() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, StopIteration):
        return None


def _main(arguments: list[str]) -> None:
    folder, threads, provider = (*arguments, *("", "1", "cpu")[len(arguments) :])
    packed = json.loads(sys.stdin.buffer.read())
    sys.stdout.write(json.dumps(asdict(_measure_here(folder, int(threads), provider, packed))) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
