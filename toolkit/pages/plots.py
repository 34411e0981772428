"""Figures as SVG text, to stand inline in a page: one function a figure, plain frozen values in, a string out.

What goes in is in `plot_data`: `ParetoPoint`, `LadderRow` of `RungTime`, `LoadSeries` of `LoadPoint`,
`FlipBand`, `Delta`, `CalibrationBin`, `LineageStep`, all importable from here. Shares and accuracies are
from 0 to 1, times in milliseconds, rates a second, None is "not measured".

What comes out
- is one `<svg class="plot" role="img">` with a title and a description, as wide as its place (`lineage` is an
  `<ol class="plot-lineage">`, so that long words wrap); it needs no network, no font and no script;
- takes its colours from CSS variables. Put `PLOT_CSS` once into the page: black on white, light on dark where
  the reader prefers that, black on white in print. Without it the figures are black on white. To write
  a file of its own, use `standalone`;
- is the same text for the same numbers, with ids made from the content: figures with different titles or
  numbers never share one. Pass `title` (say, with the artifact's name) where two could be alike;
- numbers its items 1, 2, 3 in the order given where names do not fit (more than `NAMED` of them): show the
  same numbers in the table beside it.

Nothing to draw (no row, or nothing measured in any) raises `DataError`, as NaN does; matplotlib missing raises
`MissingExtra`, which names the extra [report]. A figure costs 0.1 to 0.5 s, of forty items one or two. Not safe in
two threads at once: matplotlib's settings are changed for the time of a call and put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.pages.plot_data import (
    CalibrationBin,
    Delta,
    FlipBand,
    LadderRow,
    LineageStep,
    LoadPoint,
    LoadSeries,
    ParetoPoint,
    RungTime,
)
from toolkit.pages.plot_style import NAMED, PLOT_CSS, standalone

__all__ = [
    "NAMED",
    "PLOT_CSS",
    "CalibrationBin",
    "Delta",
    "FlipBand",
    "LadderRow",
    "LineageStep",
    "LoadPoint",
    "LoadSeries",
    "ParetoPoint",
    "RungTime",
    "calibration",
    "deltas",
    "flips_by_confidence",
    "goodput",
    "ladder",
    "latency_distributions",
    "lineage",
    "pareto",
    "standalone",
]


def pareto(points: Sequence[ParetoPoint], *, title: str = "Accuracy against latency") -> str:
    """Accuracy with its interval against p99, the front drawn, area by size, the reference marked.

    p50 takes the place of p99 for all when any point that can be drawn lacks p99: one axis, one quantity.
    """
    from toolkit.pages.plot_pareto import draw_pareto

    return draw_pareto(points, title=title)


def latency_distributions(
    series: Sequence[tuple[str, Sequence[float] | Mapping[str, Any]]], *, title: str = "How long answers take"
) -> str:
    """The shape of each series and its slow tail; one row a series, a name and either of

    - samples in milliseconds, above 0;
    - a histogram as bench.json has it, `{"edges_ms": [n + 1], "counts": [n]}`; a whole RUNG does too, whose
      `p50_ms`, `p99_ms` and `max_ms` are then marked (None and absent: not marked).
    """
    from toolkit.pages.plot_latency import draw_latency

    return draw_latency(series, title=title)


def ladder(rows: Sequence[LadderRow], *, title: str = "Latency on every rung") -> str:
    """p50 to p99 of every artifact on every rung, on one logarithmic axis."""
    from toolkit.pages.plot_ladder import draw_ladder

    return draw_ladder(rows, title=title)


def goodput(series: Sequence[LoadSeries], objective_ms: float, *, title: str = "Goodput against offered load") -> str:
    """Right answers within the objective against what was offered, with the line on which nothing is lost."""
    from toolkit.pages.plot_goodput import draw_goodput

    return draw_goodput(series, objective_ms, title=title)


def flips_by_confidence(
    bands: Sequence[FlipBand], *, title: str = "Changed answers by the reference's confidence"
) -> str:
    """Share of changed answers in each band of the reference's confidence, with counts and 95 % intervals."""
    from toolkit.pages.plot_quality import draw_flips

    return draw_flips(bands, title=title)


def deltas(
    rows: Sequence[Delta], *, what: str = "change of accuracy, percentage points", title: str = "Change by group"
) -> str:
    """The change of every class or slice with its interval, in the order given, the worst marked.

    Changes are shares (0.01 is one percentage point); `what` names the axis.
    """
    from toolkit.pages.plot_quality import draw_deltas

    return draw_deltas(rows, what=what, title=title)


def calibration(
    before_bins: Sequence[CalibrationBin],
    after_bins: Sequence[CalibrationBin],
    *,
    names: tuple[str, str] = ("before", "after"),
    title: str = "Calibration before and after",
) -> str:
    """Share right against confidence for both, with the rows of each bin; either may be empty."""
    from toolkit.pages.plot_calibration import draw_calibration

    return draw_calibration(before_bins, after_bins, names=names, title=title)


def lineage(steps: Sequence[LineageStep], *, title: str = "Steps") -> str:
    """The steps as a line that wraps: an `<ol class="plot-lineage">`; needs no matplotlib."""
    from toolkit.pages.plot_lineage import draw_lineage

    return draw_lineage(steps, title=title)
