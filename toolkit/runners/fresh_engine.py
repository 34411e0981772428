"""A fresh engine: built from an artifact, compared with a runner of the same artifact, kept once it is wanted.

Whoever builds goes through here, so that no engine is ever used or kept that was not compared: the command `build`, a
server beside its work, a search, a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.artifact import GOLDEN, Artifact
from toolkit.engines.acceptance import Runs, check_engine
from toolkit.engines.build import tensorrt_version
from toolkit.engines.cache import EngineCache
from toolkit.engines.cuda import Stream
from toolkit.engines.gpu import check_driver, describe_gpu
from toolkit.engines.key import EngineKey
from toolkit.engines.order import Order
from toolkit.errors import ToolkitError
from toolkit.progress import Progress, silent
from toolkit.runners.tensorrt import TensorRTRunner
from toolkit.spec import Array


@dataclass(frozen=True)
class FreshEngine:
    """An open engine that agreed with its reference; `facts` are seconds, bytes and the largest difference."""

    runner: TensorRTRunner
    key: EngineKey
    plan: bytes = field(repr=False)
    facts: dict[str, Any]

    def keep(self) -> Path:
        """Into the cache of this machine; returns its folder there."""
        return EngineCache().keep(self.key, self.plan, self.facts)


def can_build(artifact: Artifact) -> bool:
    """True where TensorRT and a driver that takes it are here; the graph itself is the build's to refuse."""
    try:
        tensorrt_version()
        check_driver(describe_gpu())
    except ToolkitError:
        return False
    return artifact.core.format == "onnx"


def build_engine_of(artifact: Artifact, reference: Runs, *, progress: Progress = silent) -> FreshEngine:
    """Build the engine of `artifact` here and compare it with `reference`, on the rows that travel with it.

    Raises `InputError` for what TensorRT does not take, `EngineError` when it builds nothing, `GateError` when what
    it built answers differently.
    """
    order, gpu = Order.of(artifact), describe_gpu()
    key = order.key(gpu, tensorrt=tensorrt_version())
    with Stream() as stream:
        free = stream.free_bytes()
    built = order.build(key, EngineCache(), free_bytes=free, progress=progress)
    runner = TensorRTRunner(built.plan, order.profiles, precision=order.precision, facts={"gpu": gpu.name})
    try:
        worst = check_engine(reference, runner, sample_batches(artifact), precision=order.precision)
    except BaseException:
        runner.close()
        raise
    facts = {"seconds": built.seconds, "bytes": len(built.plan), "workspace_bytes": built.workspace_bytes,
             "largest_difference": worst}  # fmt: skip
    return FreshEngine(runner, key, built.plan, facts)


def sample_batches(artifact: Artifact) -> Iterator[dict[str, Array]]:
    """The golden rows one at a time and all together: what travels with every artifact that was exported."""
    if GOLDEN not in artifact.files:
        return
    arrays = artifact.golden().arrays
    rows = len(next(iter(arrays.values())))
    for row in range(rows):
        yield {name: array[row : row + 1] for name, array in arrays.items()}
    yield dict(arrays)
