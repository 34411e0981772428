"""Memory, streams, graphs and events of one GPU, through NVIDIA's own bindings of the CUDA runtime.

Serving has no torch, so what torch would do is done here: device buffers, page-locked host buffers (a copy from any
other memory is first copied to such a one by the driver), one stream, a captured graph and a pair of events.
Every call is checked: an error is raised with its name, none is looked at later.
Source: NVIDIA CUDA Runtime API; cuda-python, `cuda.bindings.runtime`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from toolkit.errors import InputError, ToolkitError, require
from toolkit.spec import Array


class CudaError(ToolkitError):
    """A call into CUDA failed; the message has the call and CUDA's name for the error."""


class OutOfMemoryError(CudaError):
    """The GPU has not as much free memory as was asked."""


class Stream:
    """One stream of one GPU, and what was allocated for it; used by one thread at a time."""

    def __init__(self, device: int = 0) -> None:
        self._cuda = require("cuda.bindings.runtime", extra="tensorrt")
        cuda = self._cuda
        if self.call(cuda.cudaGetDeviceCount) <= device:
            raise InputError(f"CUDA sees no GPU {device} here; look with nvidia-smi -L, and at CUDA_VISIBLE_DEVICES")
        self._device = device
        self.enter_thread()
        self.handle = self.call(cuda.cudaStreamCreateWithFlags, cuda.cudaStreamNonBlocking)
        self._allocated: list[int] = []
        self._pinned: list[int] = []

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The results of a CUDA call, without its error code; raises `CudaError`, `OutOfMemoryError`."""
        error, *results = function(*arguments)
        cuda = self._cuda
        if error != cuda.cudaError_t.cudaSuccess:
            kind = OutOfMemoryError if error == cuda.cudaError_t.cudaErrorMemoryAllocation else CudaError
            raise kind(f"{function.__name__}: {error.name}")
        return results[0] if len(results) == 1 else tuple(results) or None

    def enter_thread(self) -> None:
        """The current GPU is one of each thread: to be called first in a thread that was not here yet."""
        self.call(self._cuda.cudaSetDevice, self._device)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the GPU, freed by `close`."""
        address = int(self.call(self._cuda.cudaMalloc, max(size, 1)))
        self._allocated.append(address)
        return address

    def pin(self, size: int) -> Array:
        """`size` bytes of page-locked host memory, uint8 (size,), freed by `close`."""
        address = int(self.call(self._cuda.cudaHostAlloc, max(size, 1), self._cuda.cudaHostAllocDefault))
        self._pinned.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * max(size, 1)).from_address(address))

    def copy_in(self, target: int, source: Array, size: int) -> None:
        """Enqueue a copy of `size` bytes from a pinned array to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call(self._cuda.cudaMemcpyAsync, target, source.ctypes.data, size, kind, self.handle)

    def copy_out(self, target: Array, source: int, size: int) -> None:
        """Enqueue a copy of `size` bytes from the GPU to a pinned array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call(self._cuda.cudaMemcpyAsync, target.ctypes.data, source, size, kind, self.handle)

    def wait(self) -> None:
        """Until all that was enqueued is done."""
        self.call(self._cuda.cudaStreamSynchronize, self.handle)

    def capture(self, enqueue: Callable[[], None]) -> Any:
        """What `enqueue` puts on this stream as one graph, to `launch` as often as wanted; nothing runs yet."""
        cuda = self._cuda
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call(cuda.cudaStreamBeginCapture, self.handle, mode)
        try:
            enqueue()
        finally:  # a stream left in capture would take nothing else
            graph = self.call(cuda.cudaStreamEndCapture, self.handle)
        try:
            return self.call(cuda.cudaGraphInstantiate, graph, 0)
        finally:
            self.call(cuda.cudaGraphDestroy, graph)

    def launch(self, graph: Any) -> None:
        """Enqueue a captured graph."""
        self.call(self._cuda.cudaGraphLaunch, graph, self.handle)

    def forget(self, graph: Any) -> None:
        """Free a captured graph."""
        self.call(self._cuda.cudaGraphExecDestroy, graph)

    def free_bytes(self) -> int:
        """Memory of the GPU that nobody holds."""
        free, _ = self.call(self._cuda.cudaMemGetInfo)
        return int(free)

    def milliseconds(self, enqueue: Callable[[], None]) -> float:
        """How long what `enqueue` puts on the stream takes there, by two events; waits for it."""
        cuda = self._cuda
        begin, end = (self.call(cuda.cudaEventCreate) for _ in range(2))
        try:
            self.call(cuda.cudaEventRecord, begin, self.handle)
            enqueue()
            self.call(cuda.cudaEventRecord, end, self.handle)
            self.call(cuda.cudaEventSynchronize, end)
            return float(self.call(cuda.cudaEventElapsedTime, begin, end))
        finally:
            self.call(cuda.cudaEventDestroy, begin)
            self.call(cuda.cudaEventDestroy, end)

    def close(self) -> None:
        """Free everything; addresses and pinned arrays of it may not be used again."""
        if self.handle is None:
            return
        self.wait()
        for address in self._allocated:
            self.call(self._cuda.cudaFree, address)
        for address in self._pinned:
            self.call(self._cuda.cudaFreeHost, address)
        self.call(self._cuda.cudaStreamDestroy, self.handle)
        self._allocated, self._pinned, self.handle = [], [], None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
