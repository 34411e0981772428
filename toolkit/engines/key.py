"""What an engine was built from and for: whatever may change its answers or keep it from running.

Two engines of equal key do the same work; an engine whose key differs in one field is another engine and is built
again. TensorRT checks some of this itself, and would run a plan made for another driver or from other weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from toolkit.engines.flags import Flags
from toolkit.engines.gpu import Gpu
from toolkit.engines.profiles import Profile
from toolkit.errors import ArtifactError
from toolkit.lineage import digest_of, digest_of_bytes

FORMAT = 1  # of the key itself: raised when a field is added
WORDS = {
    "onnx_sha256": "model", "gpu": "GPU", "compute_capability": "compute capability", "driver": "driver",
    "tensorrt": "TensorRT", "settings": "flags or shapes", "format": "format of this toolkit",
}  # fmt: skip


@dataclass(frozen=True)
class EngineKey:
    """Everything that a plan depends on; `settings` are flags and shape profiles as plain JSON."""

    onnx_sha256: str
    gpu: str
    compute_capability: str
    driver: str
    tensorrt: str
    settings: Mapping[str, Any] = field(hash=False)
    format: int = FORMAT

    @classmethod
    def of(cls, model: bytes, gpu: Gpu, *, tensorrt: str, flags: Flags, profiles: Sequence[Profile]) -> EngineKey:
        """The key of the engine that `model` (ONNX) gets on `gpu`."""
        settings = {"flags": flags.to_json(), "profiles": [profile.to_json() for profile in profiles]}
        return cls(digest_of_bytes(model), gpu.name, gpu.compute_capability, gpu.driver, tensorrt, settings)

    @property
    def digest(self) -> str:
        """sha256 of all of it, in hex."""
        return digest_of(self.to_json())

    @property
    def place(self) -> str:
        """sha256 of the GPU, driver and TensorRT alone: timings of kernels are shared by what runs there."""
        return digest_of([self.gpu, self.compute_capability, self.driver, self.tensorrt])

    def differences(self, other: EngineKey) -> tuple[str, ...]:
        """In words, each field in which `other` is another: `driver 570.1, here 580.2`."""
        mine, theirs = self.to_json(), other.to_json()
        return tuple(
            words if name in ("settings", "onnx_sha256") else f"{words} {theirs[name]}, here {mine[name]}"
            for name, words in WORDS.items()
            if mine[name] != theirs[name]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> EngineKey:
        """The inverse of `to_json`; raises `ArtifactError` when the value has another form."""
        try:
            texts = {name: str(value[name]) for name in WORDS if name not in ("settings", "format")}
            return cls(**texts, settings=dict(value["settings"]), format=int(value["format"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the key of an engine cannot be read: {error!r}") from None
