"""Every name of TensorRT, CUDA and NVML that the code calls is one that the real bindings have.

No GPU is needed: the bindings of TensorRT are read as a file, never loaded (they would look for libraries of 2 GB);
those of CUDA and NVML load without a driver. A misspelt or removed call fails here, not on the day a GPU comes.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "toolkit"
SOURCES = [*sorted((ROOT / "engines").glob("*.py")), ROOT / "runners" / "tensorrt.py"]
# names that hold an object of TensorRT wherever they stand in these modules
TENSORRT = {
    "trt", "builder", "network", "parser", "config", "shapes", "runtime", "engine", "context", "error", "BuilderFlag",
    "ILogger", "Severity", "MemoryPoolType", "NetworkDefinitionCreationFlag", "IProgressMonitor",
}  # fmt: skip
HELD = {"_trt", "_runtime", "_engine", "cache"}  # attributes and results that do
CHECKED_BY_HAND = {"ranges", "errors", "items", "holds", "timings", "keep_timings"}  # of our own objects of such names


def attributes_of(path: Path, holders: set[str]) -> set[str]:
    """`holder.attribute` wherever the holder, or the last part of it, has one of these names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            value = node.value
            name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                name = {"get_timing_cache": "cache"}.get(value.func.attr, "")
            if name in holders:
                found.add(node.attr)
    return found


@pytest.fixture(scope="module")
def bindings() -> Path:
    spec = importlib.util.find_spec("tensorrt_bindings")
    assert spec is not None, "make installs tensorrt-cu13-bindings, whose names are read here"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def is_there(name: str, content: bytes, python: str) -> bool:
    """A name ends a string of the shared object (linkers merge strings with a common end), or is defined in Python."""
    return (
        name.encode() + b"\0" in content
        or re.search(rf"^(def|class) {name}\b|^{name} =", python, re.MULTILINE) is not None
    )


def test_every_name_of_tensorrt_is_in_its_bindings(bindings: Path) -> None:
    content, python = (bindings / "tensorrt.so").read_bytes(), (bindings / "__init__.py").read_text()
    names = set().union(*(attributes_of(path, TENSORRT | HELD) for path in SOURCES)) - CHECKED_BY_HAND
    assert {"build_serialized_network", "set_shape", "execute_async_v3", "STRONGLY_TYPED", "TF32"} <= names, (
        "the names were looked for where they are not"
    )
    missing = sorted(name for name in names if not name.startswith("_") and not is_there(name, content, python))
    assert not missing, f"TensorRT's bindings have no {', '.join(missing)}"


def test_a_name_that_is_not_there_is_found_out(bindings: Path) -> None:
    content, python = (bindings / "tensorrt.so").read_bytes(), (bindings / "__init__.py").read_text()
    for wrong in ("build_serialised_network", "execute_async_v9", "STRONGLY_TYPEDD", "set_binding_shape"):
        assert not is_there(wrong, content, python)
    for right in ("build_serialized_network", "execute_async_v3", "nptype", "__version__"):
        assert is_there(right, content, python)


def test_the_methods_that_tensorrt_calls_have_its_names_for_their_arguments(bindings: Path) -> None:
    """A logger and a progress monitor are called by it."""
    content = (bindings / "tensorrt.so").read_bytes()
    for called in ("log", "phase_start", "step_complete", "phase_finish"):
        assert called.encode() + b"\0" in content
    assert b"IProgressMonitor::phase_start" in content


def test_every_name_of_cuda_is_in_its_bindings() -> None:
    runtime = importlib.import_module("cuda.bindings.runtime")
    tree = attributes_of(ROOT / "engines" / "cuda.py", {"cuda", "_cuda"})
    enums = {
        name: attributes_of(ROOT / "engines" / "cuda.py", {name})
        for name in tree
        if isinstance(getattr(runtime, name, None), type)
    }
    assert {"cudaMalloc", "cudaMemcpyAsync", "cudaStreamBeginCapture", "cudaGraphLaunch"} <= tree
    assert not sorted(name for name in tree if not hasattr(runtime, name))
    assert enums["cudaMemcpyKind"], "the members of enumerations are looked up too"
    assert not sorted(
        f"{name}.{one}" for name, found in enums.items() for one in found if not hasattr(getattr(runtime, name), one)
    )


def test_every_name_of_nvml_is_in_its_bindings() -> None:
    pynvml = importlib.import_module("pynvml")
    names = attributes_of(ROOT / "engines" / "gpu.py", {"nvml"})
    assert len(names) > 10
    assert not sorted(name for name in names if not hasattr(pynvml, name))
