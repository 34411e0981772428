"""Who runs the same weights in process: one row each, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contestant:
    """`file` is run as `file way make|run CHECKPOINT FOLDER` by the Python of `environment`.

    `makes` has a model of its own to make first, of the weights (`takes` "checkpoint"), or of the ONNX file of the
    contestant named in `takes` and rows of the training split. `artifact` is one of this toolkit's, run by ours.py.
    """

    name: str
    words: str
    environment: str = ""
    file: str = "ours.py"
    way: str = ""
    makes: bool = False
    takes: str = "checkpoint"
    artifact: Path | None = None

    @property
    def slug(self) -> str:
        """Its name as the name of a file."""
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.name.lower()).split())


EAGER, EXPORTED = "eager PyTorch", "ONNX Runtime, fp32"
OTHERS = (
    Contestant(EAGER, "transformers, SDPA; the reference", "pytorch", "pytorch/run.py", "eager"),
    Contestant("torch.compile", "its defaults, warmed on every length", "pytorch", "pytorch/run.py", "compile"),
    Contestant(EXPORTED, "optimum-cli export onnx", "optimum", "optimum/run.py", "fp32", makes=True),
    Contestant(
        "Optimum, dynamic INT8", "optimum-cli onnxruntime quantize --avx512_vnni --per_channel",
        "optimum", "optimum/run.py", "int8", makes=True,
    ),
    Contestant(
        "Olive, INT8", "olive auto-opt --device cpu --precision int8", "olive", "olive/run.py", "int8", makes=True,
    ),
    Contestant(
        "OpenVINO, bf16", "the exported file, INFERENCE_PRECISION_HINT=bf16", "openvino", "openvino/run.py", "bf16",
        makes=True, takes=EXPORTED,
    ),
    Contestant(
        "NNCF + OpenVINO, INT8", "nncf.quantize of the exported file, for a transformer", "openvino",
        "openvino/run.py", "int8", makes=True, takes=EXPORTED,
    ),
)  # fmt: skip


def contestants(*, onnx: Path, int8: Path, packaged: Path) -> tuple[Contestant, ...]:
    """The others, then ours: the same weights as fp32 and as INT8, and whatever the demo packages."""
    ours = [
        Contestant("toolkit, fp32", "toolkit export", artifact=onnx),
        Contestant("toolkit, INT8", "toolkit quantize --mode static", artifact=int8),
    ]
    if packaged != int8:
        ours.append(Contestant("toolkit, packaged", f"{packaged.name} of the demo: other, fewer weights",
                               artifact=packaged))  # fmt: skip
    return (*OTHERS, *ours)
