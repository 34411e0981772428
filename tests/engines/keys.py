"""Keys of engines that no test builds: what they are of is real, the GPU is a description."""

from __future__ import annotations

from typing import Any

from toolkit.engines import EngineKey, Flags, Gpu, derive_profiles
from toolkit.spec import Input, Spec

GPU = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 << 30, "580.65.06", (13, 0))
SPEC = Spec("image", (Input("pixels", "float32", ("batch", 1, 8, 8)),), ("a", "b"))


def key(
    model: bytes = b"onnx", *, gpu: Gpu = GPU, tensorrt: str = "11.4.0", max_batch: int = 8, **flags: Any
) -> EngineKey:
    return EngineKey.of(
        model, gpu, tensorrt=tensorrt, flags=Flags(**flags), profiles=derive_profiles(SPEC, max_batch=max_batch)
    )
