"""A trained classifier run by eager PyTorch: the baseline that everything else is compared with."""

from __future__ import annotations

from typing import Any, Self

import torch

from toolkit.artifact import Artifact
from toolkit.classifier import Classifier, forward_arrays, load_classifier
from toolkit.errors import InputError
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

DEVICES = ("cpu", "cuda")


class TorchRunner:
    """Eager PyTorch, on the CPU or a GPU. Its thread count is the process's own: torch has only one pool."""

    def __init__(self, classifier: Classifier, *, threads: int = 1, device: str = "cpu") -> None:
        self._classifier: Classifier | None = classifier
        self._threads, self._device = threads, device
        classifier.net.to(device)

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str) -> Self:
        """Load the network from verified bytes; raises `InputError` for another provider, or cuda without a GPU."""
        if provider not in DEVICES:
            raise InputError(f"provider {provider!r} is not one of this runner's; allowed: {', '.join(DEVICES)}")
        if provider == "cuda" and not torch.cuda.is_available():
            raise InputError("provider cuda was asked and this PyTorch sees no GPU; toolkit doctor says what is here")
        return cls(load_classifier(artifact), threads=threads, device=provider)

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        if cancel is not None:
            cancel.check()
        classifier = self._classifier
        if classifier is None:
            raise InputError("this runner is closed; open the artifact again")
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        return forward_arrays(classifier.net, classifier.spec, arrays, device=self._device)

    def facts(self) -> dict[str, Any]:
        return {
            "runtime": f"PyTorch {torch.__version__} eager",
            "provider": self._device,
            "threads": self._threads,
            "precision": "fp32",
        }

    def close(self) -> None:
        self._classifier = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
