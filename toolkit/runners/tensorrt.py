"""An ONNX model run by TensorRT: an engine that this machine built, opened from verified bytes.

::

    arrays ─► page-locked buffer ─► GPU buffer ─► engine, or its captured graph ─► GPU buffer ─► logits

Buffers are as large as the largest shape that the engine takes and are allocated once. A shape that came before is
captured as a CUDA graph, copies included: one launch instead of one for every kernel. A graph belongs to the context
that recorded it, so each has its own, for the first `MOST_GRAPHS` shapes.
Nothing is built here: `toolkit build` does, or a server beside its work (`switching`).
Source: NVIDIA TensorRT, Python API, `ICudaEngine`, `IExecutionContext`; "CUDA Graphs".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from toolkit.artifact import Artifact
from toolkit.engines.build import WAY_AROUND, make_log, tensorrt_version
from toolkit.engines.cache import EngineCache
from toolkit.engines.cuda import Stream
from toolkit.engines.gpu import check_driver, describe_gpu
from toolkit.engines.order import Order
from toolkit.engines.profiles import Profile, choose_profile
from toolkit.errors import ArtifactError, InputError, require
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

MOST_GRAPHS = 16
Shapes = tuple[tuple[int, ...], ...]


@dataclass
class Place:
    """A tensor of the engine: its buffers on both sides and its dtype."""

    device: int
    host: Array
    dtype: Any

    def view(self, shape: Sequence[int]) -> Array:
        """The host buffer as an array of this shape."""
        size = int(np.prod(shape)) * np.dtype(self.dtype).itemsize
        shaped: Array = self.host[:size].view(self.dtype).reshape(shape)
        return shaped


class TensorRTRunner:
    """One engine on one GPU; calls from several threads take turns, as its one stream does."""

    def __init__(
        self, plan: bytes, profiles: Sequence[Profile], *, precision: str = "fp32", graphs: bool = True,
        facts: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        trt = require("tensorrt", extra="tensorrt")
        self._trt, self._profiles, self._lock = trt, tuple(profiles), threading.Lock()
        self._log = make_log(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            words = self._log.errors[0] if self._log.errors else "it gave no reason"
            raise ArtifactError(f"TensorRT cannot open this engine: {words}; toolkit build makes it again")
        if self._engine.num_optimization_profiles != len(self._profiles):
            raise ArtifactError("this engine has other shape profiles than its key says; toolkit build makes it again")
        self._stream = Stream()
        self._places = self._allocate()
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if name in self._profiles[0].ranges]
        (self._output,) = [name for name in names if name not in self._inputs]
        self._most_rows = next(iter(self._profiles[-1].ranges.values())).most[0]
        self._contexts = [self._context(place) for place in range(len(self._profiles))]
        self._graphs: dict[Shapes, tuple[Any, Any]] | None = {} if graphs else None
        self._seen: set[Shapes] = set()
        self._resident_graphs: list[tuple[Any, Any]] = []
        self._facts = {
            "runtime": f"TensorRT {trt.__version__}", "provider": "TensorRT", "threads": 1, "precision": precision,
            "device": "cuda", "cuda_graphs": graphs, **(facts or {}),
        }  # fmt: skip

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str) -> Self:
        """Open the engine of `artifact` that this machine built; raises `InputError` where none fits, saying why."""
        order, gpu = Order.of(artifact), describe_gpu()
        check_driver(gpu)
        look = EngineCache().look(order.key(gpu, tensorrt=tensorrt_version()))
        if look.plan is None:
            raise InputError(
                f"no TensorRT engine of {artifact.folder} fits here: {look.why}; toolkit build, or {WAY_AROUND}"
            )
        return cls(look.plan, order.profiles, precision=order.precision, facts={"gpu": gpu.name})

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        """Logits, float32 (batch, classes), in as many runs as the largest batch of the engine asks for.

        A run on a GPU cannot be ended: `cancel` is heeded before and after each.
        """
        rows = len(next(iter(arrays.values())))
        parts = [
            self._run({name: array[start : start + self._most_rows] for name, array in arrays.items()}, cancel)
            for start in range(0, rows, self._most_rows)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, arrays: Arrays, cancel: Cancel | None) -> Array:
        with self._lock:
            if self._stream.handle is None:
                raise InputError("this runner is closed; open the artifact again")
            if cancel is not None:
                cancel.check()
            self._stream.enter_thread()
            shapes = {name: arrays[name].shape for name in self._inputs}
            place = choose_profile(self._profiles, shapes)
            for name in self._inputs:
                np.copyto(self._places[name].view(shapes[name]), arrays[name], casting="no")
            found = self._execute(place, tuple(shapes.values()))
            self._stream.wait()
            result = found.astype(np.float32)  # a copy: the buffer is the next run's
        if cancel is not None:
            cancel.check()
        return result

    def resident(self, arrays: Arrays) -> Callable[[], None]:
        """Copy `arrays` in once; each call runs the engine on what lies there, and waits: a run without its copies."""
        enqueue = self._resident(arrays)

        def run() -> None:
            enqueue()
            self._stream.wait()

        return run

    def event_milliseconds(self, arrays: Arrays) -> Callable[[], float]:
        """The same, timed by two events on the GPU's own clock."""
        enqueue = self._resident(arrays)
        return lambda: self._stream.milliseconds(enqueue)

    def _resident(self, arrays: Arrays) -> Callable[[], None]:
        self.run(arrays)
        shapes = {name: arrays[name].shape for name in self._inputs}
        context = self._context(choose_profile(self._profiles, shapes))
        for name, shape in shapes.items():
            context.set_input_shape(name, shape)
        stream = int(self._stream.handle)
        context.execute_async_v3(stream)
        self._stream.wait()
        graph = self._stream.capture(lambda: context.execute_async_v3(stream))
        self._resident_graphs.append((context, graph))
        return lambda: self._stream.launch(graph)

    def _execute(self, place: int, shapes: Shapes) -> Array:
        """Enqueue a run and return the host array that its logits will be in."""
        if self._graphs is not None and shapes in self._graphs:
            context, graph = self._graphs[shapes]
            self._stream.launch(graph)
        elif self._graphs is not None and shapes in self._seen and len(self._graphs) < MOST_GRAPHS:
            context = self._context(place)
            self._enqueue(context, shapes)  # once before it is captured: what is set up at first must not be recorded
            self._stream.wait()
            graph = self._stream.capture(lambda: self._enqueue(context, shapes, set_shapes=False))
            self._graphs[shapes] = (context, graph)
            self._stream.launch(graph)
        else:
            context = self._contexts[place]
            self._enqueue(context, shapes)
            self._seen.add(shapes)
        return self._places[self._output].view(tuple(context.get_tensor_shape(self._output)))

    def _enqueue(self, context: Any, shapes: Shapes, *, set_shapes: bool = True) -> None:
        """Copies in, the engine, the copy out."""
        for name, shape in zip(self._inputs, shapes, strict=True):
            if set_shapes and not context.set_input_shape(name, shape):
                raise InputError(f"the engine takes no {name} of shape {shape}; build it for such shapes")
            place = self._places[name]
            self._stream.copy_in(place.device, place.host, int(np.prod(shape)) * np.dtype(place.dtype).itemsize)
        if not context.execute_async_v3(int(self._stream.handle)):
            words = self._log.errors[-1] if self._log.errors else "it gave no reason"
            raise ArtifactError(f"TensorRT could not run: {words}")
        out, shape = self._places[self._output], context.get_tensor_shape(self._output)
        self._stream.copy_out(out.host, out.device, int(np.prod(tuple(shape))) * np.dtype(out.dtype).itemsize)

    def _context(self, profile: int) -> Any:
        """A context of a profile with every tensor's address set."""
        context = self._engine.create_execution_context()
        if context is None:
            raise ArtifactError(
                "TensorRT made no execution context: the GPU has too little memory free for this engine"
            )
        context.set_optimization_profile_async(profile, int(self._stream.handle))
        self._stream.wait()
        for name, place in self._places.items():
            context.set_tensor_address(name, place.device)
        return context

    def _allocate(self) -> dict[str, Place]:
        """Buffers for every tensor at the largest shape of any profile."""
        most: dict[str, tuple[int, ...]] = {}
        for profile in self._profiles:
            for name, allowed in profile.ranges.items():
                size = most.get(name, allowed.most)
                most[name] = tuple(map(max, size, allowed.most))
        rows = max(shape[0] for shape in most.values())
        places = {}
        for place in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(place)
            shape = most.get(name) or (rows, *tuple(self._engine.get_tensor_shape(name))[1:])
            dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            places[name] = Place(self._stream.allocate(size), self._stream.pin(size), dtype)
        return places

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)

    def close(self) -> None:
        with self._lock:
            if self._stream.handle is None:
                return
            for _, graph in (*(self._graphs or {}).values(), *self._resident_graphs):
                self._stream.forget(graph)
            self._graphs, self._contexts, self._resident_graphs = (
                {},
                [],
                [],
            )  # contexts before their engine, the engine before its runtime
            self._engine = self._runtime = None
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
