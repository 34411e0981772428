"""OpenVINO: the same ONNX file quantized by NNCF (`int8`), or run as it is with a hint of precision (`bf16`).

    python run.py int8|bf16 make|run CHECKPOINT FOLDER [EXPORTED.onnx TEXTS.json]

`make int8` is NNCF's post-training quantization for a transformer on the rows of TEXTS.json (of the training split).
Batch is fixed to 1, the length stays open; one stream, the latency hint. What the processor cannot do in bfloat16 the
plugin refuses or runs otherwise: `inference_precision` says what the compiled model has.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-not-found]  # in an environment of its own

from benchmarks.peers.worker import Array, Arrays, Encode, attend, folder_bytes, take_stdout, threads


def make(way: str, checkpoint: Path, folder: Path, exported: Path, texts: list[str]) -> None:
    """Write `model.xml` and `model.bin`."""
    model = openvino.convert_model(exported)
    names = [one.get_any_name() for one in model.inputs]
    if way == "int8":
        import nncf  # type: ignore[import-not-found]

        encode = Encode(checkpoint)
        dataset = nncf.Dataset([_feed(names, encode(text)) for text in texts])
        model = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts))
    model.reshape({name: [1, -1] for name in names})
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _feed(names: list[str], arrays: Arrays) -> dict[str, Array]:
    return {name: arrays[name] if name in arrays else np.zeros_like(arrays["input_ids"]) for name in names}


class Compiled:
    """Logits of the compiled model."""

    def __init__(self, path: Path, way: str) -> None:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if way == "bf16" else "f32",
        }  # fmt: skip
        core = openvino.Core()
        compiled = core.compile_model(path, "CPU", settings)
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.note = (
            "" if way != "bf16" or "BF16" in able else f"the processor has {', '.join(able)} and no BF16: emulated"
        )
        self.precision = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self._names = [one.get_any_name() for one in compiled.inputs]
        self._request = compiled.create_infer_request()

    def run(self, arrays: Arrays) -> Array:
        logits: Array = self._request.infer(_feed(self._names, arrays))["logits"]
        return logits


def main() -> None:
    way, task, checkpoint, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    if task == "make":
        make(way, checkpoint, folder, Path(sys.argv[5]), json.loads(Path(sys.argv[6]).read_text()))
        return
    out = take_stdout()
    model = Compiled(folder / "model.xml", way)
    facts = {
        "size_bytes": folder_bytes(folder / "model.xml", folder / "model.bin"),
        "versions": {"openvino": openvino.__version__} | ({"nncf": version("nncf")} if way == "int8" else {}),
        "threads": model.threads, "inference_precision": model.precision, "note": model.note,
    }  # fmt: skip
    attend(out, Encode(checkpoint), model, facts)


if __name__ == "__main__":
    main()
