"""How long a transformer layer's parts take on this machine, by heads and by neurons, measured in ONNX Runtime.

Weights are a poor guess at time: kernels work in steps, attention has a cost that no head carries, INT8 shifts the
balance. So each part is built at a few sizes, untrained, exported as the whole net would be (quantized for
int8), and timed: one thread, one row of the data's median length, all sizes in turn, round after round, so that a
busy moment hits them alike. A part is stacked as often as the net has layers (at most 4), so that its weights
compete for the cache as they will. Sizes between are interpolated, and a larger part is never taken for faster.

13 and 28 s for MiniLM in int8, 3 to 10 in fp32, on a core shared with others;
kept as JSON in the cache, by processor, runtime and sizes.
Limit: the parts are timed apart; what attention and feed-forward cost each other in the cache is not in it.

Source: Shen et al. 2022, HALP (arXiv:2110.10811); Kurtic et al. 2023, ZipLM (arXiv:2302.04089) for tables.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.compress.layer_parts import BLOCK, build_part, time_parts
from toolkit.data.archives import cache_folder
from toolkit.encoders import Encoder
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import canonical_json, digest_of
from toolkit.machine import describe_machine
from toolkit.nets.transformer import TransformerSizes
from toolkit.progress import Progress, silent
from toolkit.staging import write_atomically

PRECISIONS = ("int8", "fp32")
HEAD_POINTS, NEURON_POINTS = 6, 9  # sizes measured at most
COPIES = 4


@dataclass(frozen=True)
class LatencyTable:
    """Microseconds of one layer's attention by number of heads, and of its feed-forward by neurons; norms included."""

    processor: str
    precision: str
    length: int
    width: int
    head_width: int
    heads: tuple[int, ...]
    heads_us: tuple[float, ...]
    neurons: tuple[int, ...]
    neurons_us: tuple[float, ...]

    def attention_us(self, heads: int) -> float:
        """Time of attention with `heads` heads; never less for more."""
        return float(np.interp(heads, self.heads, self.heads_us))

    def feed_forward_us(self, neurons: int) -> float:
        """Time of the feed-forward part with `neurons` neurons; never less for more."""
        return float(np.interp(neurons, self.neurons, self.neurons_us))

    def check(self, sizes: TransformerSizes) -> None:
        """Raises `RecipeError` when it was measured for narrower or smaller layers than those of `sizes`."""
        most, widest = max(sizes.heads), max(sizes.feed_forward)
        fits = (self.width, self.head_width) == (sizes.width, sizes.head_width)
        if not fits or self.heads[-1] < most or self.neurons[-1] < widest:
            raise RecipeError(
                f"the latency table is of width {self.width}, heads of {self.head_width} up to {self.heads[-1]}, "
                f"{self.neurons[-1]} neurons; this net needs {sizes.width}, {sizes.head_width}, {most}, {widest}: "
                "measure a table for it"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, times rounded to a hundredth of a microsecond."""
        rounded = {name: [round(us, 2) for us in getattr(self, name)] for name in ("heads_us", "neurons_us")}
        return {**asdict(self), "heads": list(self.heads), "neurons": list(self.neurons), **rounded}


def read_latency_table(path: Path) -> LatencyTable:
    """A table as `LatencyTable.to_json` wrote it; raises `InputError` when it is none."""
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
        return LatencyTable(**values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no latency table ({error}); remove it and measure again") from None


def measure_latency_table(
    sizes: TransformerSizes,
    *,
    length: int,
    precision: str = "int8",
    folder: Path | None = None,
    progress: Progress = silent,
) -> LatencyTable:
    """The table for layers up to those of `sizes`, of rows `length` tokens long; kept in `folder` (None: the cache).

    Raises `RecipeError` for a precision or a length that does not exist.
    """
    if precision not in PRECISIONS:
        raise RecipeError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if not 1 <= length <= sizes.positions:
        raise RecipeError(f"length is {length}; allowed: 1 to {sizes.positions}, the positions of the net")
    machine = describe_machine()
    runtime = machine.packages.get("onnxruntime", "")
    copies = min(len(sizes.heads), COPIES)
    heads = _points(max(sizes.heads), 1, HEAD_POINTS)
    neurons = _points(max(sizes.feed_forward), BLOCK, NEURON_POINTS)
    what = [precision, length, sizes.width, sizes.head_width, sizes.activation, heads, neurons, copies]
    key = digest_of([machine.processor, list(machine.flags), runtime, *what])
    path = (cache_folder() / "latency" if folder is None else folder) / f"{key[:16]}.json"
    if path.is_file():
        return read_latency_table(path)
    parts = [("attention", size) for size in heads] + [("feed-forward", size) for size in neurons]
    models = []
    for done, (part, size) in enumerate(parts):
        progress("latency", done, len(parts), f"{part} of {size}, {precision}")
        models.append(build_part(sizes, part, size, copies=copies, length=length, precision=precision))
    times = time_parts(models, sizes.width, length)
    progress("latency", len(parts), len(parts))
    found = [time_us / copies for time_us in times]
    table = LatencyTable(
        processor=machine.processor,
        precision=precision,
        length=length,
        width=sizes.width,
        head_width=sizes.head_width,
        heads=tuple(heads),
        heads_us=_rising(found[: len(heads)]),
        neurons=tuple(neurons),
        neurons_us=_rising(found[len(heads) :]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, canonical_json(table.to_json()))
    return read_latency_table(path)


def median_length(encoder: Encoder, examples: Sequence[Any]) -> int:
    """The median number of tokens of (at most the first 500 of) `examples`."""
    lengths = [encoder.encode([example])["input_ids"].shape[1] for example in examples[:500]]
    return int(statistics.median(lengths))


def _points(most: int, block: int, count: int) -> list[int]:
    """At most `count` + 1 sizes from `block` to `most`, evenly apart, multiples of `block` but for the last."""
    blocks = -(-most // block)
    chosen = sorted({round(1 + (blocks - 1) * index / max(count - 1, 1)) for index in range(count)})
    return sorted({min(number * block, most) for number in chosen})


def _rising(times: Sequence[float]) -> tuple[float, ...]:
    return tuple(np.maximum.accumulate(times).tolist())
