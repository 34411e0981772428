"""An ONNX model run by ONNX Runtime, from bytes that were hashed before they were parsed.

Nothing falls back: a provider that was asked for and not given is an error, and `facts` reports
what the session itself says, never what was asked.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from functools import cache, partial
from typing import Any, Self

import numpy as np

from toolkit.artifact import Artifact
from toolkit.errors import ArtifactError, InputError, require
from toolkit.graph_policy import check_graph
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays

# the word a user types -> ONNX Runtime's name of the execution provider
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# both bring the package `onnxruntime`, and the one installed last has overwritten files of the other
PACKAGES = ("onnxruntime", "onnxruntime-gpu")
CLASH = (
    "onnxruntime and onnxruntime-gpu overwrite each other; pip uninstall both, then install one extra: [cpu] or [gpu]"
)
# fusions of the runtime that make a graph slower. On the CPU a sum and its layer norm take 27 microseconds as one
# kernel and 11 apart (13 x 384 values, 1.32): whole INT8 runs were 10 to 17 % faster without, fp32 runs the same.
# WeightBiasQuantization counts a bias in steps of two scales multiplied, in their own type: in fp16 that passes 65,504,
# and an fp8 cnn of 97.8 % accuracy had 24 % (1.31). Our INT8 graphs for CPUs bring their biases in 32 bits
LEFT_OUT = {"cpu": ["SkipLayerNormFusion", "WeightBiasQuantization"], "cuda": ["WeightBiasQuantization"]}


class OnnxRunner:
    """One ONNX Runtime session on the CPU; safe to call from several threads at once. For a GPU: `cuda`."""

    def __init__(
        self,
        model: bytes,
        *,
        threads: int = 1,
        precision: str = "fp32",
        optimized: bool = True,
    ) -> None:
        ort = require("onnxruntime", extra="cpu")
        check_packages()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if not optimized:  # each node as it stands in the file: what parity of rounded values is asked of
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # its error lines quote input values; what matters is raised anyway
        # waiting threads sleep: a spinning pool takes the core that the HTTP loop needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = ort.InferenceSession(
                model, options, providers=[PROVIDERS["cpu"]], disabled_optimizers=LEFT_OUT["cpu"]
            )
        except Exception as error:  # the runtime raises a dozen kinds of its own
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"ONNX Runtime cannot load the model: {reason}") from None
        self._facts = {
            "runtime": f"ONNX Runtime {ort.__version__}",
            "provider": self._session.get_providers()[0],
            "threads": self._session.get_session_options().intra_op_num_threads,
            "precision": precision,
        }
        self._run_options = ort.RunOptions
        self._inputs = [declared.name for declared in self._session.get_inputs()]

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str) -> Self:
        """Open the first model of `artifact`, once its graph is known to hold nothing but what is allowed."""
        model = artifact.read(artifact.core.models[0])
        check_graph(model)
        return cls(model, threads=threads, precision=artifact.core.precision)

    @property
    def session(self) -> Any:
        """The runtime's own session, for those who must profile it."""
        return self._session

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        session = self._session  # held here, so that a close from another thread cannot pull it away
        if session is None:
            raise InputError("this runner is closed; open the artifact again")
        feed = {name: arrays[name] for name in self._inputs}
        result: Array = session.run(None, feed)[0] if cancel is None else self._run_until(cancel, session, feed)
        return result if result.dtype == np.float32 else result.astype(np.float32)

    def _run_until(self, cancel: Cancel, session: Any, feed: dict[str, Array]) -> Array:
        options = self._run_options()
        with cancel.ending(partial(setattr, options, "terminate", True)):
            try:
                result: Array = session.run(None, feed, options)[0]
            except Exception:  # the runtime's word for it is a plain failure
                cancel.check()
                raise
        return result

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)

    def close(self) -> None:
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@cache
def installed_packages() -> tuple[str, ...]:
    """Which distributions of ONNX Runtime are installed here; one is as it should be."""
    return tuple(name for name in PACKAGES if _is_installed(name))


@cache
def check_packages() -> None:
    """Warn once a process when two distributions of ONNX Runtime lie over one another."""
    if len(installed_packages()) > 1:
        warnings.warn(CLASH, RuntimeWarning, stacklevel=3)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
