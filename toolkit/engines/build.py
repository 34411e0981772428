"""An engine from ONNX bytes: strongly typed, with the shapes it is for, by as much memory as there is.

Precision stands in the graph (casts, Q/DQ): TensorRT 11 knows nothing else. Where a build runs out of GPU memory
it is tried again with half the workspace, down to `LEAST_WORKSPACE`, so that a smaller GPU gets a slower engine and
not an error. What TensorRT refuses is told with the operator and its place, and with the way around it.
Source: NVIDIA TensorRT, Python API, `Builder`, `OnnxParser`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.engines.flags import Flags
from toolkit.engines.profiles import Profile
from toolkit.errors import InputError, ToolkitError, require
from toolkit.progress import Progress, silent

LEAST_WORKSPACE = 64 << 20
OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "memory allocation")
WAY_AROUND = "ONNX Runtime runs it: toolkit serve --provider cuda"


class EngineError(ToolkitError):
    """TensorRT built nothing; the message has its own words."""


@dataclass(frozen=True)
class Built:
    """A serialized engine, the timings that building it left, and what it took."""

    plan: bytes = field(repr=False)
    timings: bytes = field(repr=False)
    seconds: float
    workspace_bytes: int


def tensorrt_version() -> str:
    """The version of the TensorRT that is installed; raises `MissingExtra` where none is."""
    trt = require("tensorrt", extra="tensorrt")
    return str(trt.__version__)


def build_engine(
    model: bytes,
    profiles: Sequence[Profile],
    flags: Flags,
    *,
    workspace_bytes: int,
    timings: bytes = b"",
    progress: Progress = silent,
) -> Built:
    """Parse, optimize and serialize; `workspace_bytes` is the free memory of the GPU, `timings` an earlier build's.

    Raises `InputError` for an operator or a form that TensorRT lacks, `EngineError` when the build fails otherwise.
    """
    trt = require("tensorrt", extra="tensorrt")
    begun, log = time.monotonic(), make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        raise InputError(say_refused([(error.node_operator(), error.node_name(), error.desc()) for error in errors]))
    config = builder.create_builder_config()
    config.builder_optimization_level = flags.level
    config.progress_monitor = make_monitor(trt, progress)
    for wanted, flag in ((flags.tf32, trt.BuilderFlag.TF32), (flags.sparse, trt.BuilderFlag.SPARSE_WEIGHTS)):
        (config.set_flag if wanted else config.clear_flag)(flag)
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        for name, allowed in profile.ranges.items():
            shapes.set_shape(name, allowed.least, allowed.best, allowed.most)
        if config.add_optimization_profile(shapes) < 0:
            raise InputError(f"TensorRT takes no profile of the shapes {profile.to_json()}; give other --max-batch")
    cache = config.create_timing_cache(timings)
    if not config.set_timing_cache(cache, ignore_mismatch=False):  # of another GPU after all: start without
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    for size in workspaces(workspace_bytes):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
        log.errors.clear()
        plan = builder.build_serialized_network(network, config)
        if plan is not None:
            kept = bytes(config.get_timing_cache().serialize())
            return Built(bytes(plan), kept, time.monotonic() - begun, size)
        if not ran_out_of_memory(log.errors):
            raise EngineError(f"TensorRT built no engine: {say_errors(log.errors)}; {WAY_AROUND}")
    raise EngineError(
        f"the GPU has too little memory to build this engine, with {LEAST_WORKSPACE >> 20} MiB of workspace too: "
        f"end what else runs there, give a smaller --max-batch, or leave it: {WAY_AROUND}"
    )


def workspaces(most: int) -> Iterator[int]:
    """Bytes of workspace to try, each half of the one before, down to `LEAST_WORKSPACE`."""
    size = max(most, LEAST_WORKSPACE)
    while size > LEAST_WORKSPACE:
        yield size
        size //= 2
    yield LEAST_WORKSPACE


def ran_out_of_memory(errors: Sequence[str]) -> bool:
    """True when TensorRT's error lines speak of memory."""
    return any(word in line.lower() for line in errors for word in OUT_OF_MEMORY)


def say_errors(errors: Sequence[str]) -> str:
    """The first error line, and how many more there are."""
    if not errors:
        return "it gave no reason"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return " ".join(errors[0].split()) + more


def say_refused(errors: Sequence[tuple[str, str, str]]) -> str:
    """What the parser refused, from operator, name of the node and its words."""
    if not errors:
        return f"TensorRT's parser refuses this graph and gave no reason; {WAY_AROUND}"
    operator, name, words = errors[0]
    more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"TensorRT cannot take {operator or 'the graph'} {name!r}: {' '.join(words.split())}{more}; {WAY_AROUND}"


def make_log(trt: Any) -> Any:
    """A logger of TensorRT's that keeps the lines of errors in `errors` and prints none."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def make_monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's phases as progress: minutes of silence look like a hang."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            progress("engine", 0, max(num_steps, 1), phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress("engine", step + 1, max(self._steps.get(phase_name, 1), 1), phase_name)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            steps = max(self._steps.pop(phase_name, 1), 1)
            progress("engine", steps, steps, phase_name)

    return Monitor()
