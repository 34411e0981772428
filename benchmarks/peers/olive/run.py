"""Microsoft Olive: `olive auto-opt` to INT8 for the CPU provider, its own choice of passes.

python run.py int8 make|run CHECKPOINT FOLDER
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.onnx_model import OnnxModel
from benchmarks.peers.worker import Encode, attend, take_stdout

CLI = str(Path(sys.executable).with_name("olive"))


def make(checkpoint: Path, folder: Path) -> None:
    """One command, as its manual has it."""
    command = [CLI, "auto-opt", "--model_name_or_path", str(checkpoint), "--trust_remote_code", "--task",
               "text-classification", "--device", "cpu", "--provider", "CPUExecutionProvider", "--precision", "int8",
               "--disable_telemetry", "--output_path", str(folder)]  # fmt: skip
    subprocess.run(command, check=True)
    shutil.rmtree(folder / ".olive-cache")  # the models between its passes


def main() -> None:
    task, checkpoint, folder = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    if task == "make":
        make(checkpoint, folder)
        return
    out = take_stdout()
    model = OnnxModel(folder / "model.onnx", made_by="olive-ai")
    attend(out, Encode(checkpoint), model, model.facts)


if __name__ == "__main__":
    main()
