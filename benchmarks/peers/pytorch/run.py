"""Transformers on PyTorch, as it comes (`eager`) or after `torch.compile` with its defaults (`compile`).

    python run.py eager|compile run CHECKPOINT FOLDER

Nothing is made before: FOLDER is not used. `compile` is warmed by the benchmark on every length that is asked.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.peers.worker import Array, Arrays, Encode, attend, folder_bytes, take_stdout, threads


class Eager:
    """Logits of the model in evaluation mode."""

    def __init__(self, checkpoint: Path, *, compiled: bool) -> None:
        loader = transformers.AutoModelForSequenceClassification
        model = loader.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=True).eval()
        self._model: Any = torch.compile(model) if compiled else model

    @torch.inference_mode()
    def run(self, arrays: Arrays) -> Array:
        logits: Array = self._model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).logits.numpy()
        return logits


def main() -> None:
    out = take_stdout()
    way, _, checkpoint = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    torch.set_num_threads(threads())
    model = Eager(checkpoint, compiled=way == "compile")
    facts = {
        "size_bytes": folder_bytes(checkpoint / "model.safetensors"),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "threads": torch.get_num_threads(),
    }
    attend(out, Encode(checkpoint), model, facts)


if __name__ == "__main__":
    main()
