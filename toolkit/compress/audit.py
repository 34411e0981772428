"""What the rows that static INT8 is calibrated on are worth: an audit of the ranges they give.

Four questions. Is a row also a test row: a leak, refused. Does each class have rows. Which share of the values of
training rows that were *not* chosen lies outside the ranges, tensor by tensor. How far do the ranges move when
another seed chooses the rows. A wide spread says that there are too few rows, or that one row with an outlier
rules a min-max range; a large clipped share says that the range is cut.
Limit: it speaks of ranges, not of answers; what clipping costs in accuracy `verify` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.artifact import Artifact
from toolkit.compress.activations import watch_tensors
from toolkit.compress.calibration import Rows, batch_alike, choose_rows, measure_ranges
from toolkit.compress.int8 import prepare_graph
from toolkit.compress.operators import find_nodes
from toolkit.compress.quantize import check_artifact
from toolkit.compress.scheme import Scheme
from toolkit.data import Split, hash_rows
from toolkit.encoders import Encoder
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.progress import Progress, silent
from toolkit.spec import Array

WORST = 5


@dataclass(frozen=True)
class TensorAudit:
    """One activation: the range of the first seed, the share of held-out values outside, the spread over seeds.

    `spread` is the largest difference of the width between seeds over its mean; `clipped` a share of 1, None
    where every training row was chosen.
    """

    name: str
    low: float
    high: float
    clipped: float | None
    spread: float


@dataclass(frozen=True)
class Audit:
    """What `audit_calibration` found; `classes` is rows of the first seed by label, `tensors` the worst first."""

    rows: int
    method: str
    seeds: tuple[int, ...]
    classes: Mapping[str, int]
    held_out_rows: int
    test_rows_compared: int | None
    tensors: tuple[TensorAudit, ...] = field(repr=False)

    @property
    def without_rows(self) -> tuple[str, ...]:
        """Classes that no row of the calibration has."""
        return tuple(label for label, count in self.classes.items() if not count)

    @property
    def largest_clipped(self) -> float | None:
        """The largest clipped share of a tensor."""
        return max((one.clipped for one in self.tensors if one.clipped is not None), default=None)

    @property
    def largest_spread(self) -> float:
        """The largest spread of a tensor over the seeds."""
        return max(one.spread for one in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the form in evidence/calibration.json."""
        return {
            "rows": self.rows,
            "method": self.method,
            "seeds": list(self.seeds),
            "classes": dict(self.classes),
            "classes_without_rows": list(self.without_rows),
            "held_out_rows": self.held_out_rows,
            "rows_shared_with_test": None if self.test_rows_compared is None else 0,
            "test_rows_compared": self.test_rows_compared,
            "largest_clipped_share": self.largest_clipped,
            "largest_spread": self.largest_spread,
            "tensors": [vars(one) for one in self.tensors],
        }

    def table(self) -> list[tuple[str, str]]:
        """Lines of words: what was asked, what was found; the worst tensors by name."""
        shared = "not compared: no test rows given" if self.test_rows_compared is None else "0"
        counts = sorted(self.classes.items(), key=lambda item: item[1])
        lines = [
            ("rows", f"{self.rows} by {self.method}, seeds {', '.join(map(str, self.seeds))}"),
            ("shared with test", shared),
            ("rows a class", ", ".join(f"{label} {count}" for label, count in counts[:8])),
            ("classes without a row", ", ".join(self.without_rows[:8]) or "none"),
            ("held-out rows", f"{self.held_out_rows} training rows that were not chosen"),
            ("largest clipped share", "–" if self.largest_clipped is None else f"{100 * self.largest_clipped:.3f} %"),
            ("largest spread over seeds", f"{100 * self.largest_spread:.1f} %"),
        ]
        for one in self.tensors[:WORST]:
            clipped = "–" if one.clipped is None else f"{100 * one.clipped:.3f} %"
            lines.append((one.name, f"{one.low:.3g} to {one.high:.3g}, clipped {clipped}, {100 * one.spread:.1f} %"))
        return lines


def audit_calibration(
    artifact: Artifact,
    calibration: Split,
    *,
    test: Split | None = None,
    rows: int = 256,
    method: str = "minmax",
    seeds: Sequence[int] = (0, 1, 2),
    progress: Progress = silent,
) -> Audit:
    """Audit `rows` rows of `calibration` as static `quantize` would choose them with the first of `seeds`.

    Raises `DataError` for rows that `test` has too, and as `quantize` does for strangers; `RecipeError` for
    fewer than two seeds, `InputError` for a graph without activations to quantize.
    """
    scheme = Scheme(mode="static", method=method, rows=rows)
    check_artifact(artifact, scheme, calibration)
    if len(set(seeds)) < 2:
        raise RecipeError(f"seeds are {list(seeds)}; a spread takes two different ones or more")
    refuse_shared_rows(calibration, test)
    encoder = artifact.encoder()
    graph = prepare_graph(artifact.read(artifact.core.models[0]))
    nodes = set(find_nodes(graph, "static"))
    operators = sorted({node.op_type for node in graph.graph.node if node.name in nodes})
    if not nodes:
        raise InputError("nothing to audit: static mode quantizes no operator of this graph")
    chosen: list[Rows] = []
    ranges: list[dict[str, tuple[float, float]]] = []
    for done, seed in enumerate(seeds, start=1):
        chosen.append(choose_rows(artifact, calibration, encoder, rows=rows, seed=seed))
        measured = measure_ranges(graph, chosen[-1].batches, operators, method=method)
        ranges.append({name: _range(measured[name]) for name in _activations(graph, nodes)})
        progress("audit", done, len(seeds), f"ranges of seed {seed}")
    held_out = _held_out(calibration, chosen[0], rows)
    clipped = _clipped(graph, ranges[0], encoder, held_out)
    tensors = [
        TensorAudit(name, *ranges[0][name], clipped.get(name), _spread([one[name] for one in ranges]))
        for name in ranges[0]
    ]
    labels = calibration.labels[chosen[0].positions]
    return Audit(
        rows=chosen[0].count,
        method=method,
        seeds=tuple(seeds),
        classes={label: int((labels == number).sum()) for number, label in enumerate(artifact.spec.labels)},
        held_out_rows=len(held_out),
        test_rows_compared=None if test is None else len(test),
        tensors=tuple(sorted(tensors, key=lambda one: (-(one.clipped or 0.0), -one.spread, one.name))),
    )


def refuse_shared_rows(calibration: Split, test: Split | None) -> None:
    """Raises `DataError`, counting them, for rows of `calibration` that `test` has too."""
    if test is None:
        return
    shared = int(np.isin(hash_rows(calibration.examples), hash_rows(test.examples)).sum())
    if shared:
        raise DataError(
            f"{shared} of {len(calibration)} calibration rows are test rows too: a leak; take them out of either"
        )


def _activations(graph: Any, nodes: set[str]) -> list[str]:
    """The float tensors that go into what is quantized, each once."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    names = [name for node in graph.graph.node if node.name in nodes for name in node.input[:2] if name]
    return [name for name in dict.fromkeys(names) if name not in weights]


def _range(measured: Any) -> tuple[float, float]:
    """What the quantizer makes of it: a range holds zero."""
    low, high = measured.range_value
    return min(float(np.min(low)), 0.0), max(float(np.max(high)), 0.0)


def _spread(ranges: Sequence[tuple[float, float]]) -> float:
    widths = np.array([high - low for low, high in ranges])
    return float((widths.max() - widths.min()) / widths.mean()) if widths.mean() > 0 else 0.0


def _held_out(calibration: Split, chosen: Rows, rows: int) -> list[Any]:
    """At most `rows` examples that were not chosen, spread over the split."""
    others = np.setdiff1d(np.arange(len(calibration)), chosen.positions)
    picked = (
        others[np.unique(np.linspace(0, len(others) - 1, min(rows, len(others))).astype(int))] if len(others) else []
    )
    return [calibration.examples[int(row)] for row in picked]


def _clipped(
    graph: Any, ranges: Mapping[str, tuple[float, float]], encoder: Encoder, examples: Sequence[Any]
) -> dict[str, float]:
    """Share of values outside the range, by tensor; empty without examples."""
    if not examples:
        return {}
    outside, seen = dict.fromkeys(ranges, 0), dict.fromkeys(ranges, 0)
    batches: Sequence[Mapping[str, Array]] = batch_alike(encoder, examples)
    for values in watch_tensors(graph, list(ranges), batches):
        for name, array in values.items():
            low, high = ranges[name]
            outside[name] += int(((array < low) | (array > high)).sum())
            seen[name] += array.size
    return {name: outside[name] / seen[name] for name in ranges}
