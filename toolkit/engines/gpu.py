"""Which GPU this is, as its driver says: name, compute capability, memory, driver, newest CUDA, clocks.

Clocks are read and never set. A GPU counts as there when its driver answers: a library that is installed and a
device file that exists prove nothing.
Source: NVIDIA Management Library (NVML), through nvidia-ml-py.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.errors import InputError, require

# what TensorRT 11 for CUDA 13 and ONNX Runtime's wheels ask of a driver
LEAST_CUDA = (13, 0)
NO_DRIVER = "no NVIDIA driver answers here ({words}); run this where nvidia-smi works, or use the CPU"


@dataclass(frozen=True)
class Gpu:
    """One GPU: `memory_bytes` in all, `cuda` the newest CUDA that its driver takes."""

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str
    cuda: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "cuda": list(self.cuda)}


@dataclass(frozen=True)
class Clocks:
    """What it runs at now: MHz, degrees Celsius, watts, and why the driver holds it back (a mask of NVML's reasons)."""

    sm_mhz: int
    memory_mhz: int
    celsius: int
    watts: float
    throttled: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def describe_gpu(place: int = 0, *, nvml: Any | None = None) -> Gpu:
    """The GPU at `place` of those that this process may see; `nvml` None imports pynvml.

    Raises `InputError` without a driver, without such a GPU, and for a driver too old to run TensorRT 11.
    """
    nvml = nvml or require("pynvml", extra="tensorrt")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise InputError(NO_DRIVER.format(words=error)) from None
    try:
        handle = _handle(nvml, place)
        version = nvml.nvmlSystemGetCudaDriverVersion_v2()
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        found = Gpu(
            name=_text(nvml.nvmlDeviceGetName(handle)), compute_capability=f"{major}.{minor}",
            memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
            driver=_text(nvml.nvmlSystemGetDriverVersion()), cuda=(version // 1000, version % 1000 // 10),
        )  # fmt: skip
    except nvml.NVMLError as error:
        raise InputError(f"GPU {place} cannot be read: {error}; the driver is there, look with nvidia-smi -L") from None
    finally:
        nvml.nvmlShutdown()
    return found


def read_clocks(place: int = 0, *, nvml: Any | None = None) -> Clocks:
    """What the GPU runs at in this moment; raises as `describe_gpu`."""
    nvml = nvml or require("pynvml", extra="tensorrt")
    try:
        nvml.nvmlInit()
        handle = _handle(nvml, place)
        return Clocks(
            sm_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            memory_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            celsius=nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            watts=nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            throttled=nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        )
    except nvml.NVMLError as error:
        raise InputError(NO_DRIVER.format(words=error)) from None


def check_driver(gpu: Gpu, *, least: tuple[int, int] = LEAST_CUDA) -> None:
    """Raise `InputError` for a driver that cannot run what was built for CUDA `least`."""
    if gpu.cuda < least:
        have, need = (".".join(map(str, version)) for version in (gpu.cuda, least))
        raise InputError(
            f"the driver {gpu.driver} of {gpu.name} takes CUDA {have} at most; TensorRT 11 needs {need}: "
            "install a newer driver (580 or later)"
        )


def _handle(nvml: Any, place: int) -> Any:
    """NVML counts all GPUs of the machine, CUDA those that CUDA_VISIBLE_DEVICES names: by number or by UUID."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return nvml.nvmlDeviceGetHandleByIndex(place)
    named = [name.strip() for name in shown.split(",") if name.strip()]
    if place >= len(named):
        raise InputError(f"CUDA_VISIBLE_DEVICES is {shown!r}, so there is no GPU {place}; name one there")
    name = named[place]
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
