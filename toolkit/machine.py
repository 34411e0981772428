"""What this machine is: processors really granted, instruction sets, memory, library versions.

A container may be allowed half a core on a machine of sixty-four; a thread pool sized by the host
then fights itself. Everything here that counts threads asks the cgroup first.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tokenizers", "torch",
            "transformers", "optimum", "optimum-onnx", "bentoml")  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """A description that goes into every result file."""

    processor: str
    cores: int
    threads_allowed: int
    memory_bytes: int
    flags: tuple[str, ...]
    system: str
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "flags": list(self.flags), "packages": dict(self.packages)}


def describe_machine() -> Machine:
    """Read this machine; never fails, an unreadable field is empty or zero."""
    cpu = _cpuinfo()
    words = set(cpu.get("flags", "").split())
    return Machine(
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        threads_allowed=threads_allowed(),
        memory_bytes=_memory_bytes(),
        flags=tuple(flag for flag in FLAGS if flag in words),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
    )


def processor_name() -> str:
    """The model of the processor, as far as the system tells it; never fails."""
    return _cpuinfo().get("model name", platform.processor() or platform.machine())


def threads_allowed() -> int:
    """Whole processors this process may use: the least of affinity and cgroup quota, at least 1."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        available = os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, available if quota is None else min(available, int(quota)))


def _cgroup_quota(root: Path) -> float | None:
    """Processors granted by the cgroup (version 2, then 1), None when there is no limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (root / "cpu/cpu.cfs_quota_us").read_text()
        period = (root / "cpu/cpu.cfs_period_us").read_text()
        return None if int(limit) < 0 else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
