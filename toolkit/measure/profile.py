"""Which operators a row's time goes to, from ONNX Runtime's own profiler, and the graph that it really ran.

The runtime fuses and replaces operators when a session starts; what the file says and what runs are two
things. Both are kept: time by node, and the optimized model.

Limits: the profiler costs a microsecond or two for each node, so shares of small operators are a little too
large; `model_ms` is taken without it. Rows are run one at a time, as they are served. With one thread
it is processor time, so that a neighbour on the same core does not count; what a user waits is `latency`'s.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import ArtifactError, DataError, require
from toolkit.runners.onnx import LEFT_OUT, PROVIDERS
from toolkit.spec import Array

SECONDS = 0.4
MAX_RUNS = 400


@dataclass(frozen=True)
class NodeTime:
    """A node of the optimized graph and its share of a row's time under the profiler (0 to 1)."""

    name: str
    op: str
    share: float


@dataclass(frozen=True)
class Profile:
    """Milliseconds for one row without the profiler, and where they go; `optimized` is the model that ran."""

    model_ms: float
    runs: int
    nodes: tuple[NodeTime, ...]
    optimized: bytes = field(repr=False)

    def by_op(self) -> dict[str, float]:
        """Share of the time by operator, the largest first."""
        shares: dict[str, float] = {}
        for node in self.nodes:
            shares[node.op] = shares.get(node.op, 0.0) + node.share
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def profile_model(model: bytes, rows: Sequence[Mapping[str, Array]], *, threads: int = 1) -> Profile:
    """Run the ONNX `model` on `rows`, each a batch of one, for about a second in all.

    Raises `DataError` without rows, `ArtifactError` when the runtime does not load or run it.
    """
    if not rows:
        raise DataError("there is no row to profile with; give some")
    with tempfile.TemporaryDirectory(prefix="toolkit-profile-") as folder:
        plain, profiled = _open(model, threads), _open(model, threads, Path(folder))
        feeds = [{declared.name: row[declared.name] for declared in plain.get_inputs()} for row in rows]
        clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
        try:
            model_ms, _ = time_rows(lambda feed: plain.run(None, feed), feeds, clock=clock)
            _, runs = time_rows(lambda feed: profiled.run(None, feed), feeds)
        except Exception as error:  # the runtime raises a dozen kinds of its own
            raise ArtifactError(f"ONNX Runtime cannot run the model: {str(error).splitlines()[0]}") from None
        events = json.loads(Path(profiled.end_profiling()).read_bytes())
        optimized = (Path(folder) / "optimized.onnx").read_bytes()
    return Profile(model_ms, runs, _nodes(events, warm=len(feeds)), optimized)


def time_rows(
    run: Callable[[Any], object], rows: Sequence[Any], *, clock: Callable[[], int] = time.thread_time_ns
) -> tuple[float, int]:
    """Median milliseconds of `run` on one row, and how many were timed; one pass over `rows` comes first."""
    for row in rows:
        run(row)
    found: list[int] = []
    end = time.perf_counter_ns() + int(SECONDS * 1e9)
    while not found or (time.perf_counter_ns() < end and len(found) < MAX_RUNS):
        start = clock()
        run(rows[len(found) % len(rows)])
        found.append(clock() - start)
    return statistics.median(found) / 1e6, len(found)


def _open(model: bytes, threads: int, folder: Path | None = None) -> Any:
    """A session as `OnnxRunner` opens it; with a folder, one that profiles and leaves its graph there."""
    ort = require("onnxruntime", extra="cpu")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.optimized_model_filepath = str(folder / "optimized.onnx")
    try:
        return ort.InferenceSession(model, options, providers=[PROVIDERS["cpu"]], disabled_optimizers=LEFT_OUT["cpu"])
    except Exception as error:  # the runtime raises a dozen kinds of its own
        raise ArtifactError(f"ONNX Runtime cannot load the model: {str(error).splitlines()[0]}") from None


def _nodes(events: Sequence[Mapping[str, Any]], *, warm: int) -> tuple[NodeTime, ...]:
    """Time by node over the runs after the first `warm`, as shares of all nodes' time.

    A node's time is its median: a run that a neighbour interrupted would blame whatever ran just then.
    """
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
    first, runs = starts[warm], len(starts) - warm
    spent: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= first:
            name, of = event["name"].removesuffix("_kernel_time"), event["args"]
            spent[of["node_index"], name, of["op_name"]].append(event["dur"])
    # inside a loop a node runs several times a row
    times = {key: statistics.median(found) * len(found) / runs for key, found in spent.items()}
    total = sum(times.values()) or 1.0
    nodes = [NodeTime(name, op, spent_here / total) for (_, name, op), spent_here in times.items()]
    return tuple(sorted(nodes, key=lambda node: -node.share))
