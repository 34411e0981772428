"""The counters of energy that a machine may have: RAPL of its processors, NVML of its GPUs.

RAPL is files in /sys/class/powercap. Packages and their memory are taken; cores and graphics lie
inside a package, `psys` holds everything, and `intel-rapl-mmio` is the same package by another road:
each would count twice. Most kernels let only root read them (CVE-2020-8694).

NVML counts from Volta on, in millijoules since the driver was loaded; its Python module is pynvml, of
the package nvidia-ml-py.

Sources: the kernel's Documentation/power/powercap/powercap.rst; nvmlDeviceGetTotalEnergyConsumption in
NVIDIA's NVML reference.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
_ZONE = re.compile(r"intel-rapl:\d+")  # AMD's zones carry this name too


@dataclass
class Counter:
    """One counter that only rises; `reading` gives joules. At `full` joules it begins again; None: it never is.

    `joules` is what came between `start` and the last `add`.
    """

    name: str
    reading: Callable[[], float]
    full: float | None = None
    joules: float = field(default=0.0, init=False)
    _last: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Count from here."""
        self._last, self.joules = self.reading(), 0.0

    def add(self) -> None:
        """Add what came since the last reading; raises `ValueError` when it went back without being full."""
        now = self.reading()
        step = now - self._last
        if step < 0 and self.full is not None:
            step += self.full
        if step < 0:
            raise ValueError(f"it went back from {self._last:.3f} to {now:.3f} J")
        self.joules, self._last = self.joules + step, now


def rapl_counters(root: Path = POWERCAP) -> tuple[list[Counter], list[str]]:
    """A counter for every processor package under `root` and for its memory; and why others are left out."""
    counters: list[Counter] = []
    problems: list[str] = []
    for zone in sorted(filter(lambda path: _ZONE.fullmatch(path.name), _listed(root)), key=_number):
        name = _word(zone / "name")
        if not name.startswith("package"):
            continue
        memory = [part for part in sorted(zone.glob(f"{zone.name}:*")) if _word(part / "name") == "dram"]
        for folder, label in ((zone, name), *((part, f"{name} dram") for part in memory)):
            try:
                full = _joules(folder / "max_energy_range_uj")
                counter = Counter(label, partial(_joules, folder / "energy_uj"), full)
                counter.start()
            except PermissionError:
                problems.append(f"RAPL counts {label} and only root may read it")
            except (OSError, ValueError) as error:
                problems.append(f"RAPL has {label} and cannot be read: {error}")
            else:
                counters.append(counter)
    return counters, problems


def nvml_counters(gpus: Sequence[int | str], nvml: Any | None = None) -> tuple[list[Counter], list[str]]:
    """A counter for each GPU, by NVML's index or UUID; and why others are left out. None imports pynvml."""
    try:
        nvml = nvml or importlib.import_module("pynvml")
        nvml.nvmlInit()
    except ModuleNotFoundError:
        return [], ["NVML is asked by the package nvidia-ml-py, which is not installed"]
    except Exception as error:  # NVMLError is a class of that module
        return [], [f"NVML: {error}"]
    counters: list[Counter] = []
    problems: list[str] = []
    for gpu in gpus:
        try:
            handle = (nvml.nvmlDeviceGetHandleByIndex if isinstance(gpu, int) else nvml.nvmlDeviceGetHandleByUUID)(gpu)
            counter = Counter(f"gpu {gpu}", partial(_gpu_joules, nvml, handle))
            counter.start()
        except Exception as error:
            problems.append(f"NVML, gpu {gpu}: {error}")
        else:
            counters.append(counter)
    return counters, problems


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[int | str, ...]:
    """The GPU that a CUDA program takes first, by CUDA_VISIBLE_DEVICES; empty when it may see none."""
    words = environment.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        return (0,)
    first = words.split(",")[0].strip()
    if not first or first == "-1":
        return ()
    return (int(first) if first.isdecimal() else first,)


def _joules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _gpu_joules(nvml: Any, handle: Any) -> float:
    return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _number(zone: Path) -> int:
    return int(zone.name.rpartition(":")[2])


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
