"""What runs a model: arrays in, logits out. One module a runtime, imported only when asked for.

The serving image holds ONNX Runtime and no torch, so nothing here may import a runtime by itself.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, Self, cast

from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

# format of an artifact -> module and class of its runner
FORMATS = {
    "onnx": ("toolkit.runners.onnx", "OnnxRunner"),
    "safetensors": ("toolkit.runners.torch", "TorchRunner"),
    "cascade": ("toolkit.runners.cascade", "CascadeRunner"),
}
# an ONNX artifact runs in more than one runtime, by the word that a user types
PROVIDERS = {
    "cpu": FORMATS["onnx"],
    "cuda": ("toolkit.runners.cuda", "CudaRunner"),
    "tensorrt": ("toolkit.runners.tensorrt", "TensorRTRunner"),
    "tensorrt-rtx": ("toolkit.runners.tensorrt_rtx", "RtxRunner"),
}
PREFERENCES = ("gpu", "gpu-or-cpu")  # see `preference`


class Runner(Protocol):
    """An open model. The contract that every runner is tested against is in tests/runners."""

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        """Logits, float32 (batch, classes); `arrays` as in the artifact's spec. Raises `Cancelled`."""
        ...

    def facts(self) -> dict[str, Any]:
        """What really runs, read back from the runtime: runtime, provider, threads, precision."""
        ...

    def close(self) -> None:
        """Free the model; `run` may not be called again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def open_runner(artifact: Artifact, *, threads: int = 1, provider: str = "cpu") -> Runner:
    """Open the model of `artifact` from verified bytes, with `provider` or the first that a preference finds.

    Raises `InputError` for a provider that this machine or this format does not have: nothing falls
    back silently.
    """
    module, name = FORMATS[artifact.core.format]
    if artifact.core.format == "onnx":
        if provider in PREFERENCES:
            preference = importlib.import_module("toolkit.runners.preference")
            return cast(
                Runner,
                preference.open_preferred(
                    artifact, lambda one: open_runner(artifact, threads=threads, provider=one), provider=provider
                ),
            )
        if provider not in PROVIDERS:
            raise InputError(f"unknown provider {provider!r}; allowed: {', '.join((*PROVIDERS, *PREFERENCES))}")
        module, name = PROVIDERS[provider]
    runner = getattr(importlib.import_module(module), name)
    return cast(Runner, runner.open(artifact, threads=threads, provider=provider))
