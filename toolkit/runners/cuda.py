"""An ONNX model run by ONNX Runtime on a GPU: buffers bound once, graphs captured, nothing silently on the CPU.

::

    arrays ─► page-locked buffer ─► GPU buffer ─► session, or its captured graph ─► GPU buffer ─► logits

For every shape that comes again the buffers stay where they are, so the runtime may capture what it launches as a
CUDA graph (a run of small kernels is then one launch) and replay it. The first `MOST_SHAPES` shapes get a graph and
keep their buffers; of all others the `MOST_SHAPES` used last keep theirs.
Where the runtime put each node is read back from the session: operators that compute shapes belong on the CPU, an
operator of `HEAVY` there is an error, and `facts` counts both.
Source: ONNX Runtime, "I/O Binding", "CUDA Execution Provider: Using CUDA Graphs".
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from toolkit.artifact import Artifact
from toolkit.engines.cuda import Stream
from toolkit.engines.gpu import describe_gpu
from toolkit.errors import ArtifactError, InputError, require
from toolkit.graph_policy import check_graph
from toolkit.runners.cancel import Cancel
from toolkit.runners.onnx import LEFT_OUT, PROVIDERS, check_packages
from toolkit.spec import Array, Arrays

MOST_SHAPES = 32
# what a GPU is there for; any of these on the CPU means that the GPU is not used
HEAVY = (
    "MatMul", "Gemm", "Conv", "LSTM", "GRU", "Attention", "LayerNormalization", "Softmax", "FusedMatMul", "FusedConv",
    "MatMulInteger", "QLinearMatMul", "QLinearConv", "ConvInteger", "EmbedLayerNormalization",
)  # fmt: skip
# a record of where nodes went, and the entry that tells captured graphs apart
RECORD_ENTRY, GRAPH_ENTRY = "session.record_ep_graph_assignment_info", "gpu_graph_id"
NO_GRAPH = "-1"
LIBRARIES = "CUDA 13 or cuDNN 9 is not found: pip install 'serving-toolkit[gpu]' brings both"


@dataclass(frozen=True)
class Bound:
    """Buffers of one shape: values on the device by input's name, and what was bound."""

    inputs: dict[str, Any]
    output: Any
    binding: Any
    options: Any


class CudaRunner:
    """One session on one GPU; calls from several threads take turns, as its one stream does.

    `device` is where buffers lie. With "cpu" the same path runs on ONNX Runtime's CPU provider, which is how it is
    tested where there is no GPU.
    """

    def __init__(
        self, model: bytes, *, threads: int = 1, precision: str = "fp32", graphs: bool = True, device: str = "cuda"
    ) -> None:
        ort = require("onnxruntime", extra="gpu")
        check_packages()
        provider = PROVIDERS[device]
        if provider not in ort.get_available_providers():
            available = ", ".join(ort.get_available_providers())
            raise InputError(f"this ONNX Runtime has no {provider} (it has {available}); it comes with the extra [gpu]")
        if device == "cuda":
            describe_gpu()  # a driver that does not answer is said as such, before ONNX Runtime takes the CPU for it
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
                ort.preload_dlls()  # CUDA and cuDNN as they lie in wheels, where no loader looks
        self._ort, self._device, self._lock = ort, device, threading.Lock()
        self._session, self._graphs = self._open(model, threads, provider, graphs=graphs and device == "cuda")
        self._inputs = [declared.name for declared in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0]
        self._memory = Stream() if device == "cuda" else None
        self._staged: dict[str, Array] = {}
        self._bound: OrderedDict[tuple[tuple[int, ...], ...], Bound] = OrderedDict()
        self._captured: dict[tuple[tuple[int, ...], ...], Bound] = {}
        placed = placement(self._session)
        given = self._session.get_providers()[0]
        if given != provider:
            raise InputError(f"{provider} was asked and {given} was given; {LIBRARIES}")
        if device == "cuda" and (heavy := sorted(set(placed.get(PROVIDERS["cpu"], ())) & set(HEAVY))):
            raise InputError(f"ONNX Runtime put {', '.join(heavy)} on the CPU although {provider} was asked")
        self._facts = {
            "runtime": f"ONNX Runtime {ort.__version__}", "provider": given, "threads": threads,
            "precision": precision, "device": device, "cuda_graphs": self._graphs,
            "nodes": {name: sum(kinds.values()) for name, kinds in sorted(placed.items())},
            "on_cpu": sorted(placed.get(PROVIDERS["cpu"], ())) if device == "cuda" else [],
        }  # fmt: skip

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str) -> Self:
        """Open the first model of `artifact`, once its graph is known to hold nothing but what is allowed."""
        model = artifact.read(artifact.core.models[0])
        check_graph(model)
        return cls(model, threads=threads, precision=artifact.core.precision, device=provider)

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        """Logits, float32 (batch, classes). A run on a GPU cannot be ended: `cancel` is heeded before and after."""
        with self._lock:
            if self._session is None:
                raise InputError("this runner is closed; open the artifact again")
            if cancel is not None:
                cancel.check()
            feed = {name: np.ascontiguousarray(arrays[name]) for name in self._inputs}
            bound = self._bind(feed)
            for name, array in feed.items():
                bound.inputs[name].update_inplace(self._stage(name, array))
            bound.binding.synchronize_inputs()
            self._session.run_with_iobinding(bound.binding, bound.options)
            bound.binding.synchronize_outputs()
            result: Array = bound.output.numpy()
        if cancel is not None:
            cancel.check()
        return result.astype(np.float32)  # a copy: the buffer is the next run's

    def resident(self, arrays: Arrays) -> Callable[[], None]:
        """Copy `arrays` in once; each call runs the model on what lies there, and waits: a run without its copies."""
        self.run(arrays)
        self.run(arrays)  # the second is captured where graphs are on
        bound = self._bind({name: np.ascontiguousarray(arrays[name]) for name in self._inputs})

        def run() -> None:
            self._session.run_with_iobinding(bound.binding, bound.options)
            bound.binding.synchronize_outputs()

        return run

    def _stage(self, name: str, array: Array) -> Array:
        """The same values in page-locked memory, from which a GPU copies at once; one buffer an input, which grows."""
        if self._memory is None:
            return array
        buffer = self._staged.get(name)
        if buffer is None or buffer.nbytes < array.nbytes:
            self._memory.enter_thread()
            buffer = self._staged[name] = self._memory.pin(2 * array.nbytes)
        view: Array = buffer[: array.nbytes].view(array.dtype).reshape(array.shape)
        np.copyto(view, array)
        return view

    def _bind(self, feed: Arrays) -> Bound:
        """The buffers of these shapes, made at their first run, with a graph of their own where graphs are on."""
        shapes = tuple(array.shape for array in feed.values())
        if (bound := self._captured.get(shapes)) is not None:
            return bound
        if (bound := self._bound.get(shapes)) is not None:
            self._bound.move_to_end(shapes)
            return bound
        options, captured = self._ort.RunOptions(), self._graphs and len(self._captured) < MOST_SHAPES
        if self._graphs:
            # a captured graph holds the addresses of its buffers for as long as the session lives, so only the first
            # shapes get one, and theirs are never let go of
            options.add_run_config_entry(GRAPH_ENTRY, str(len(self._captured) + 1) if captured else NO_GRAPH)
        value = self._ort.OrtValue.ortvalue_from_shape_and_type
        inputs = {name: value(array.shape, array.dtype, self._device, 0) for name, array in feed.items()}
        output = value((shapes[0][0], self._output.shape[-1]), _dtype(self._output.type), self._device, 0)
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            binding.bind_ortvalue_input(name, buffer)
        binding.bind_ortvalue_output(self._output.name, output)
        bound = Bound(inputs, output, binding, options)
        (self._captured if captured else self._bound)[shapes] = bound
        if len(self._bound) > MOST_SHAPES:
            self._bound.popitem(last=False)
        return bound

    def _open(self, model: bytes, threads: int, provider: str, *, graphs: bool) -> tuple[Any, bool]:
        """The session, and whether it captures graphs: a model whose shapes are computed on the CPU cannot."""
        ort = self._ort
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # its error lines quote input values; what matters is raised anyway
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(RECORD_ENTRY, "1")
        chosen = {"enable_cuda_graph": "1" if graphs else "0", "use_tf32": "0"} if provider == PROVIDERS["cuda"] else {}
        try:
            session = ort.InferenceSession(
                model, options, providers=[(provider, chosen)], disabled_optimizers=LEFT_OUT[self._device]
            )
            return session, graphs
        except Exception as error:  # the runtime raises a dozen kinds of its own
            if graphs:
                return self._open(model, threads, provider, graphs=False)
            raise ArtifactError(f"ONNX Runtime cannot load the model: {str(error).splitlines()[0]}") from None

    @property
    def session(self) -> Any:
        """The runtime's own session, for those who must profile it."""
        return self._session

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)

    def close(self) -> None:
        with self._lock:
            self._bound.clear()
            self._captured.clear()
            self._session = None
            if self._memory is not None:
                self._staged.clear()
                self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def placement(session: Any) -> dict[str, Counter[str]]:
    """Execution provider -> how many nodes of which operator it was given, as the session itself tells it."""
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        placed.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return placed


def _dtype(name: str) -> Any:
    """`tensor(float)` as numpy's."""
    return {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}[name]
