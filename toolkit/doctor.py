"""What this machine can run: instruction sets, threads, runtimes, container tools, and what is missing.

Findings are read, never guessed: a provider counts when ONNX Runtime lists it, a GPU when its driver
answers. Each finding is ok, a warning with what to do, or absent.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.machine import Machine, describe_machine
from toolkit.runners.onnx import CLASH, installed_packages

EXTRAS = {
    "cpu": ("onnxruntime",),
    "serve": ("bentoml", "cryptography", "uvloop", "httptools", "orjson", "PIL"),
    "train": (
        "torch",
        "transformers",
        "accelerate",
        "optimum",
        "onnx",
        "onnxscript",
        "pyarrow",
        "safetensors",
        "sklearn",
        "tensorboard",
    ),
    "optimize": ("optuna", "matplotlib"),
    "ray": ("ray",),
    "sign": ("model_signing",),
    "prune": ("torch_pruning",),
    "quantize-aware": ("modelopt",),
    "bench": ("mlperf_loadgen", "pynvml"),
    "report": ("jinja2", "matplotlib"),
    "hub": ("datasets",),
    "tensorrt": ("tensorrt", "cuda", "pynvml"),
    "tensorrt-rtx": ("onnxruntime_ep_nv_tensorrt_rtx",),
}
CONTAINER_TOOLS = ("docker", "podman", "buildah")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: `state` is ok, warning or absent; `advice` says what to do."""

    subject: str
    state: str
    words: str
    advice: str = ""


@dataclass(frozen=True)
class Examination:
    """The machine, and what was found on it."""

    machine: Machine
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"machine": self.machine.to_json(), "findings": [asdict(finding) for finding in self.findings]}


def examine() -> Examination:
    """Look at this machine; installs nothing and changes nothing."""
    machine = describe_machine()
    findings = [
        _int8(machine),
        _threads(machine),
        _runtime_packages(),
        _providers(),
        _gpu(),
        *(_extra(name, modules) for name, modules in EXTRAS.items()),
        _containers(),
        _cache(),
    ]
    return Examination(machine, tuple(findings))


def extra_of(module: str) -> str | None:
    """The extra that brings a module, None for one that no extra brings."""
    package = module.partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if package in modules), None)


def _int8(machine: Machine) -> Finding:
    fast = [flag for flag in ("amx_int8", "avx512_vnni", "avx_vnni") if flag in machine.flags]
    if fast:
        return Finding("INT8", "ok", f"fast INT8 products: {', '.join(fast)}")
    advice = "INT8 may be no faster than float here, and weights are kept to 7 bits (reduce_range) against saturation"
    return Finding("INT8", "warning", "no VNNI and no AMX on this processor", advice)


def _threads(machine: Machine) -> Finding:
    words = f"{machine.threads_allowed} of {machine.cores} processors granted"
    return Finding("threads", "ok", words)


def _runtime_packages() -> Finding:
    found = installed_packages()
    if len(found) == 2:
        words, advice = CLASH.split("; ", 1)
        return Finding("ONNX Runtime", "warning", words, advice)
    if not found:
        return Finding("ONNX Runtime", "absent", "not installed", "pip install 'serving-toolkit[cpu]'")
    return Finding("ONNX Runtime", "ok", f"{found[0]} {importlib.metadata.version(found[0])}")


def _providers() -> Finding:
    if importlib.util.find_spec("onnxruntime") is None:
        return Finding("providers", "absent", "no ONNX Runtime to ask", "pip install 'serving-toolkit[cpu]'")
    import onnxruntime

    return Finding("providers", "ok", ", ".join(onnxruntime.get_available_providers()))


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("GPU", "absent", "no NVIDIA driver tools on this machine")
    query = [tool, "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if answer.returncode != 0 or not answer.stdout.strip():
        return Finding("GPU", "warning", "nvidia-smi does not answer", "check the driver: run nvidia-smi")
    return Finding("GPU", "ok", "; ".join(answer.stdout.strip().splitlines()))


def _extra(name: str, modules: tuple[str, ...]) -> Finding:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return Finding(f"[{name}]", "ok", "installed")
    advice = f"pip install 'serving-toolkit[{name}]'"
    return Finding(f"[{name}]", "absent", f"without {', '.join(missing)}", advice)


def _containers() -> Finding:
    found = [tool for tool in CONTAINER_TOOLS if shutil.which(tool)]
    if not found:
        return Finding("containers", "absent", "no docker, podman or buildah", "needed only to build images")
    docker_only = found == ["docker"]
    if docker_only and not Path("/var/run/docker.sock").exists() and "DOCKER_HOST" not in os.environ:
        return Finding("containers", "warning", "docker is a client without an engine here", "start the engine")
    return Finding("containers", "ok", ", ".join(found))


def _cache() -> Finding:
    folder = Path(os.environ.get("SERVING_TOOLKIT_CACHE", Path.home() / ".cache" / "serving-toolkit"))
    free = shutil.disk_usage(folder if folder.exists() else Path.home()).free
    return Finding("cache", "ok", f"{folder}, {free / 1e9:.0f} GB free on its disk")
