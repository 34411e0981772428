"""Which runtime runs an ONNX artifact on a GPU: TensorRT, then ONNX Runtime CUDA, then the CPU if that was allowed.

::

    gpu           an engine that fits ─► TensorRT
                  none, but TensorRT is here ─► CUDA answers, TensorRT is built beside and takes over when it agrees
                  no TensorRT ─► CUDA
    gpu-or-cpu    the same, and where there is no GPU the CPU

Each runtime that was passed over is in `facts`, with its reason: nothing falls back without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from toolkit.artifact import Artifact
from toolkit.errors import InputError, ToolkitError
from toolkit.runners.cancel import Cancel
from toolkit.runners.fresh_engine import build_engine_of, can_build
from toolkit.runners.switching import SwitchingRunner
from toolkit.runners.tensorrt import TensorRTRunner
from toolkit.spec import Array, Arrays

if TYPE_CHECKING:
    from toolkit.runners import Runner

# what a user asks for -> the runtimes in the order they are tried
PREFERENCES = {"gpu": ("tensorrt", "cuda"), "gpu-or-cpu": ("tensorrt", "cuda", "cpu")}
Open = Callable[[str], "Runner"]


class PreferredRunner:
    """The runner that was had, and in its facts the ones passed over."""

    def __init__(self, runner: Runner, passed_over: Mapping[str, str]) -> None:
        self._runner, self._passed_over = runner, dict(passed_over)

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        return self._runner.run(arrays, cancel)

    def facts(self) -> dict[str, Any]:
        return {**self._runner.facts(), "passed_over": dict(self._passed_over)}

    def close(self) -> None:
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_preferred(artifact: Artifact, open_one: Open, *, provider: str) -> Runner:
    """The first runtime of `provider`'s order that opens `artifact`; `open_one` opens it with a named one.

    Where CUDA is had because no engine fits, and TensorRT is installed, the engine is built beside. Raises
    `InputError` with the reason of each when there is none.
    """
    passed_over: dict[str, str] = {}
    for name in PREFERENCES[provider]:
        try:
            runner = open_one(name)
        except ToolkitError as error:  # an extra that is missing, no driver, no engine, no memory
            passed_over[name] = str(error)
            continue
        if name == "cuda" and can_build(artifact):
            runner = SwitchingRunner(runner, lambda first: build_beside(artifact, first), what="TensorRT")
        return PreferredRunner(runner, passed_over) if passed_over else runner
    reasons = "; ".join(f"{name}: {why}" for name, why in passed_over.items())
    hint = "" if "cpu" in PREFERENCES[provider] else "; gpu-or-cpu allows the CPU"
    raise InputError(f"nothing can run {artifact.folder} as asked ({provider}): {reasons}{hint}")


def build_beside(artifact: Artifact, first: Runner) -> TensorRTRunner:
    """A fresh engine of `artifact` that agrees with `first`, kept; raises what keeps it from being used."""
    fresh = build_engine_of(artifact, first)
    fresh.keep()
    return fresh.runner
