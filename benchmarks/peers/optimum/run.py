"""Hugging Face Optimum: its own export to ONNX (`fp32`), and its dynamic INT8 for AVX-512 VNNI (`int8`).

    python run.py fp32|int8 make|run CHECKPOINT FOLDER

`make` runs the commands that its manual has; `run` is ONNX Runtime in the same environment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.peers.onnx_model import OnnxModel
from benchmarks.peers.worker import Encode, attend, take_stdout

CLI = str(Path(sys.executable).with_name("optimum-cli"))


def make(way: str, checkpoint: Path, folder: Path) -> None:
    """Export, and quantize where INT8 is wanted."""
    exported = folder if way == "fp32" else folder / "exported"
    export = [CLI, "export", "onnx", "--model", str(checkpoint), "--task", "text-classification",
              "--trust-remote-code", str(exported)]  # fmt: skip
    subprocess.run(export, check=True)
    if way == "int8":
        quantize = [CLI, "onnxruntime", "quantize", "--onnx_model", str(exported), "--avx512_vnni", "--per_channel",
                    "-o", str(folder)]  # fmt: skip
        subprocess.run(quantize, check=True)


def main() -> None:
    way, task, checkpoint, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    if task == "make":
        make(way, checkpoint, folder)
        return
    out = take_stdout()
    model = OnnxModel(folder / {"fp32": "model.onnx", "int8": "model_quantized.onnx"}[way], made_by="optimum-onnx")
    attend(out, Encode(checkpoint), model, model.facts)


if __name__ == "__main__":
    main()
