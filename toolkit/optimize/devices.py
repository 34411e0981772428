"""Where candidates of a search are run and timed, and which forms of a file are worth making there.

On a CPU the forms are those of `workshop`. On a GPU every plan is written in fp16, int8 and fp8 as `toolkit build`
does, and each is timed by the fastest runtime that takes it: TensorRT, its engine built and compared first, else ONNX
Runtime CUDA. What is slower than another form is not chosen: cost is measured, whatever the number of bits.
"""

from __future__ import annotations

from typing import Any

from toolkit.artifact import Artifact
from toolkit.core import CASCADE
from toolkit.engines.gpu import describe_gpu
from toolkit.errors import InputError, RecipeError, ToolkitError, require
from toolkit.predictor import Predictor
from toolkit.runners import open_runner

DEVICES = ("cpu", "cuda")
GPU_FORMS = ("fp16", "int8", "fp8")


def check_device(device: str) -> None:
    """Raise `RecipeError` for a device that is none, `InputError` where it is not here: before an hour of search."""
    if device not in DEVICES:
        raise RecipeError(f"device is {device!r}; allowed: {', '.join(DEVICES)}")
    if device == "cuda":
        describe_gpu()
        ort = require("onnxruntime", extra="gpu")
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise InputError(
                "device cuda needs ONNX Runtime with CUDA; it comes with the extra [gpu] in place of [cpu]"
            )


def open_on(artifact: Artifact, device: str, **keywords: Any) -> Predictor:
    """`Predictor.load` on `device`, one thread; on a GPU with the runtime that `provider_for` finds."""
    provider = "cpu" if device == "cpu" else provider_for(artifact)
    return Predictor.load(artifact, threads=1, provider=provider, **keywords)


def provider_for(artifact: Artifact) -> str:
    """cuda, or tensorrt where an engine of `artifact` (of both members of a cascade) is there or can be built."""
    if artifact.core.format == CASCADE:
        found = {provider_for(member) for member in artifact.members.values()}
        return found.pop() if len(found) == 1 else "cuda"
    from toolkit.runners.fresh_engine import build_engine_of, can_build

    if not can_build(artifact):
        return "cuda"
    try:
        open_runner(artifact, provider="tensorrt").close()
    except InputError:
        try:
            with open_runner(artifact) as beside:
                fresh = build_engine_of(artifact, beside)
            fresh.keep()
            fresh.runner.close()
        except ToolkitError:  # TensorRT takes it not, or answers otherwise: CUDA runs it
            return "cuda"
    return "tensorrt"
