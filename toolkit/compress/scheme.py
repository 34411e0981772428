"""How an ONNX artifact is to be quantized: one frozen value for `quantize` and `quantize_mixed`.

| mode    | weights             | activations                          | on a CPU it buys              |
|---------|---------------------|--------------------------------------|-------------------------------|
| dynamic | 8 bits              | 8 bits, scale from the batch running | size, and time where products dominate |
| static  | 8 bits              | 8 bits, scale from training rows     | size and time, answers free of the batch |
| weights | 8 or 4 bits         | float                                | size only, never time         |
| fp16    | half precision      | half precision, sums in float        | size only: it is for a GPU    |

*Two targets are two graphs.* CPU kernels like unsigned activations with a zero point. TensorRT takes symmetric
signed ones only (zero point 0), biases in float, Q/DQ at the inputs of products and nowhere behind them.
Limit: the graph for TensorRT was checked by its form and by its answers in ONNX Runtime, not in TensorRT itself.
Source: docs.nvidia.com/deeplearning/tensorrt, "Explicit Quantization".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.errors import RecipeError

MODES = ("dynamic", "static", "weights", "fp16")
METHODS = ("minmax", "entropy", "percentile")
# target -> the modes whose graphs it takes
TARGETS = {"cpu": MODES, "tensorrt": ("static", "fp16")}
BITS = (8, 4)
SMOOTHED = ("dynamic", "static")


@dataclass(frozen=True)
class Scheme:
    """Every setting of a quantization; raises `RecipeError` when it is made with one out of its range.

    `method`, `rows` and `seed` say how ranges are measured on training rows (static mode, and smoothing in
    either); `smooth` is SmoothQuant's alpha, 0 to 1; `keep_float` names nodes of the graph that stay float;
    `bits` is of mode weights alone; `table_bits` of embedding tables, which have few bits on a CPU only.
    """

    mode: str = "static"
    method: str = "minmax"
    rows: int = 256
    seed: int = 0
    target: str = "cpu"
    smooth: float | None = None
    keep_float: tuple[str, ...] = ()
    bits: int = 8
    table_bits: int = 8

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("mode", self.mode, MODES),
            ("method", self.method, METHODS),
            ("target", self.target, tuple(TARGETS)),
            ("bits", self.bits, BITS),
            ("table_bits", self.table_bits, BITS),
        ):
            if value not in allowed:
                raise RecipeError(f"{name} is {value!r}; allowed: {', '.join(map(str, allowed))}")
        if self.rows < 1:
            raise RecipeError(f"rows is {self.rows}; allowed: 1 or more training rows to calibrate on")
        if self.mode not in TARGETS[self.target]:
            raise RecipeError(
                f"mode {self.mode} makes no graph for {self.target}; modes for it: {', '.join(TARGETS[self.target])}"
            )
        if self.smooth is not None and not 0 <= self.smooth <= 1:
            raise RecipeError(
                f"smooth is {self.smooth}; allowed: 0 (evens out the weights) to 1 (evens out the activations)"
            )
        if self.smooth is not None and self.mode not in SMOOTHED:
            raise RecipeError(f"smooth helps activations in 8 bits, modes {' and '.join(SMOOTHED)}; not {self.mode}")
        if self.bits != 8 and self.mode != "weights":
            raise RecipeError(
                f"bits is {self.bits}, which is for mode weights; mode {self.mode} has a width of its own"
            )
        if self.table_bits != 8 and (self.target != "cpu" or self.mode == "fp16"):
            raise RecipeError(
                f"table_bits is {self.table_bits}; mode {self.mode} for {self.target} leaves embedding tables in float"
            )

    @property
    def calibrates(self) -> bool:
        """True when training rows are needed: for ranges, or for smoothing."""
        return self.mode == "static" or self.smooth is not None

    @property
    def precision(self) -> str:
        """The word for it in an artifact."""
        return "fp16" if self.mode == "fp16" else f"int{self.bits}"

    def to_json(self) -> dict[str, Any]:
        """The settings that this mode reads, as they stand in the lineage."""
        settings: dict[str, Any] = {"mode": self.mode, "target": self.target}
        if self.mode == "static":
            settings["method"] = self.method
        if self.mode == "weights":
            settings["bits"] = self.bits
        if self.table_bits != 8:
            settings["table_bits"] = self.table_bits
        if self.smooth is not None:
            settings["smooth"] = self.smooth
        if self.keep_float:
            settings["keep_float"] = sorted(self.keep_float)
        return settings
