"""An ONNX file run by ONNX Runtime with the threads allowed; for the peers' environments that hold it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.peers.worker import Array, Arrays, folder_bytes, threads


class OnnxModel:
    """Logits of `path`, whatever integers it takes; a type input is the zeros that it is for one text.

    `made_by` is the package that made the file, for its version.
    """

    def __init__(self, path: Path, *, made_by: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._dtypes = {
            one.name: np.int32 if one.type == "tensor(int32)" else np.int64 for one in self._session.get_inputs()
        }
        data = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
        self.facts: dict[str, Any] = {
            "size_bytes": folder_bytes(*data),
            "versions": {"onnxruntime": onnxruntime.__version__, made_by: version(made_by)},
            "threads": threads(),
        }

    def run(self, arrays: Arrays) -> Array:
        feed = {
            name: (arrays[name] if name in arrays else np.zeros_like(arrays["input_ids"])).astype(dtype, copy=False)
            for name, dtype in self._dtypes.items()
        }
        logits: Array = self._session.run(["logits"], feed)[0]
        return logits
