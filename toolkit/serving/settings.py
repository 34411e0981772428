"""What a server allows: threads, runs at once, queue, rows, bytes, seconds. Shown at /v1/model.

Each has an environment variable, TOOLKIT_ and the name in capitals, since a container is configured
that way: TOOLKIT_THREADS=4, TOOLKIT_MAX_BODY_BYTES=1000000.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.errors import InputError
from toolkit.runners import PREFERENCES, PROVIDERS

BATCHING = ("auto", "off", "always")


@dataclass(frozen=True)
class Settings:
    """Limits of one server process; the numbers are positive.

    `provider` is what runs the model: cpu, cuda, tensorrt, or a preference: gpu (TensorRT, then CUDA), gpu-or-cpu.
    `threads` is what one run may use inside the runtime, `concurrency` how many runs there are at
    once, `queue` how many requests may wait for one. `body_seconds` is how long a body may take to
    arrive, `timeout_seconds` how long an answer may take from then on, waiting included.

    A request that could not be answered within `objective_ms`, by what runs have cost so far, is refused at
    once. `batching` is auto (where it pays and moves no answer), off, or always (where it pays, whatever it
    moves); `max_batch` is how many rows of several requests may share a run.

    A connection may take `header_seconds` for the head of a request, of at most `max_header_bytes`, and
    `send_seconds` to take its answer; there are at most `max_connections`. After SIGTERM the server is not ready
    but goes on answering for `drain_seconds`, so that whoever sends it requests can look elsewhere.
    """

    provider: str = "cpu"
    threads: int = 1
    concurrency: int = 1
    queue: int = 64
    max_rows: int = 256
    max_body_bytes: int = 16 << 20
    body_seconds: float = 10.0
    timeout_seconds: float = 30.0
    objective_ms: float = 1000.0
    batching: str = "auto"
    max_batch: int = 32
    header_seconds: float = 10.0
    max_header_bytes: int = 32 << 10
    send_seconds: float = 30.0
    max_connections: int = 1000
    drain_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.batching not in BATCHING:
            raise InputError(f"{variable('batching')} is {self.batching!r}; allowed: {', '.join(BATCHING)}")
        if self.provider not in (allowed := (*PROVIDERS, *PREFERENCES)):
            raise InputError(f"{variable('provider')} is {self.provider!r}; allowed: {', '.join(allowed)}")
        for name, value in asdict(self).items():
            if isinstance(value, str):
                continue
            least = 0 if name == "queue" else 1 if isinstance(value, int) else 1e-3
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"{variable(name)} is {value}; it must be a number of at least {least}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"TOOLKIT_{name.upper()}"


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raises `InputError` naming the first variable that is not a number."""
    found: dict[str, Any] = {}
    for name, default in asdict(Settings()).items():
        text = environment.get(variable(name))
        if text is None:
            continue
        try:
            found[name] = type(default)(text)
        except ValueError:
            raise InputError(f"{variable(name)} is {text!r}; it must be a number") from None
    return Settings(**found)
