"""An ONNX model run by TensorRT-RTX, which comes to ONNX Runtime as a plugin: a real wheel, builder and all.

It is for GeForce RTX and workstation GPUs: the wheel of 0.5.0 has kernels for compute capability 8.6, 8.9, 12.0 and
12.1, and what it does on 8.0 or 9.0 only a run there can tell. It compiles when a session is opened, within seconds.
State: written, and loaded here as far as a machine without a driver goes (libcuda.so.1 is what it misses).
Source: the header `tensorrt_rtx_provider_options.h` of onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from toolkit.artifact import Artifact
from toolkit.engines.gpu import describe_gpu
from toolkit.engines.order import Order
from toolkit.errors import ArtifactError, InputError, require
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

LIBRARY = "toolkit-tensorrt-rtx"  # under which ONNX Runtime knows the plugin in this process
SHAPES = {"least": "nv_profile_min_shapes", "best": "nv_profile_opt_shapes", "most": "nv_profile_max_shapes"}
GRAPHS = "enable_cuda_graph"


class RtxRunner:
    """One session; calls from several threads take turns."""

    def __init__(self, order: Order, *, threads: int = 1, graphs: bool = False) -> None:
        ort = require("onnxruntime", extra="gpu")
        plugin = require("onnxruntime_ep_nv_tensorrt_rtx", extra="tensorrt-rtx")
        gpu = describe_gpu()
        self._lock = threading.Lock()
        device = _find_device(ort, plugin)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_provider_for_devices([device], {**shapes_of(order), GRAPHS: "1" if graphs else "0"})
        try:
            self._session: Any = ort.InferenceSession(order.model, options)
        except Exception as error:  # the runtime raises a dozen kinds of its own
            raise ArtifactError(f"TensorRT-RTX cannot load the model: {str(error).splitlines()[0]}") from None
        given = self._session.get_providers()[0]
        if given != plugin.get_ep_name():
            raise InputError(f"{plugin.get_ep_name()} was asked and {given} was given")
        self._inputs = [declared.name for declared in self._session.get_inputs()]
        self._facts = {
            "runtime": f"ONNX Runtime {ort.__version__}, TensorRT-RTX plugin {plugin.__version__}", "provider": given,
            "threads": threads, "precision": order.precision, "device": "cuda", "gpu": gpu.name, "cuda_graphs": graphs,
        }  # fmt: skip

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str) -> Self:
        """Compile the first model of `artifact` for this GPU; raises `InputError` without the plugin or a GPU."""
        return cls(Order.of(artifact), threads=threads)

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        with self._lock:
            if self._session is None:
                raise InputError("this runner is closed; open the artifact again")
            if cancel is not None:
                cancel.check()
            result: Array = self._session.run(None, {name: arrays[name] for name in self._inputs})[0]
        return result if result.dtype == np.float32 else result.astype(np.float32)

    def resident(self, arrays: Arrays) -> Callable[[], None]:
        """A call that runs on `arrays`, copies included: this session is given no buffers on the GPU."""

        def run() -> None:
            self.run(arrays)

        return run

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)

    def close(self) -> None:
        with self._lock:
            self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def shapes_of(order: Order) -> dict[str, str]:
    """The plugin's profile options: `input_ids:1x1;attention_mask:1x1` for each end, of the widest profile."""
    ranges = order.profiles[-1].ranges
    return {
        option: ";".join(f"{name}:{'x'.join(map(str, getattr(allowed, end)))}" for name, allowed in ranges.items())
        for end, option in SHAPES.items()
    }


def _find_device(ort: Any, plugin: Any) -> Any:
    """The first GPU that the plugin takes; registers it once a process."""
    try:
        ort.register_execution_provider_library(LIBRARY, plugin.get_library_path())
    except Exception as error:  # known already, or a library of NVIDIA's that is not there
        if "already registered" not in str(error).lower():
            raise InputError(f"TensorRT-RTX cannot be loaded: {str(error).splitlines()[0]}") from None
    found = [device for device in ort.get_ep_devices() if device.ep_name == plugin.get_ep_name()]
    if not found:
        raise InputError("TensorRT-RTX takes no GPU of this machine; CUDA may: --provider cuda")
    return found[0]
