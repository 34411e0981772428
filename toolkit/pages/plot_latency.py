"""How long answers take: the whole shape of each, since two with one p99 may be different to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.pages.plot_axes import hide_ticks, number, set_log
from toolkit.pages.plot_canvas import WIDTH, Canvas, open_canvas
from toolkit.pages.plot_histogram import MARKS, Histogram, histogram_of, span
from toolkit.pages.plot_legend import LINE, Key, draw_keys, lay_out
from toolkit.pages.plot_style import BLUE, INK, MUTED, NAMED, RED

LEFT, RIGHT = 168.0, 566.0
COLUMNS = dict(zip(MARKS, (612.0, 664.0, WIDTH - 4), strict=True))
MARKERS = {"p50_ms": ("|", INK.hex), "p99_ms": ("D", RED.hex), "max_ms": ("x", RED.hex)}


def draw_latency(series: Sequence[tuple[str, Sequence[float] | Mapping[str, Any]]], *, title: str) -> str:
    """See `plots.latency_distributions`."""
    if not series:
        raise DataError("there are no latencies to draw; measure with toolkit bench")
    rows = [histogram_of(name, latencies) for name, latencies in series]
    height = 58.0 if len(rows) <= NAMED else 34.0 if len(rows) <= 2 * NAMED else 24.0
    marks = [mark for mark in MARKS if any(mark in row.marks for row in rows)]
    lines = lay_out(_keys(rows), 4)
    top = len(lines) * LINE + 46
    bottom = top + height * len(rows)
    with open_canvas(bottom + 44) as canvas:
        draw_keys(canvas, lines, 12)
        axes = canvas.add_axes(LEFT, top, RIGHT, bottom)
        low, high = span(rows)
        set_log(axes.xaxis, low, high)
        axes.set_ylim(len(rows), 0)
        hide_ticks(axes)
        if height * len(rows) > 400:
            axes.tick_params(top=True, labeltop=True)
        for mark in marks:
            canvas.write(COLUMNS[mark], top - 14, mark[:3], align="right", colour=MUTED.hex)
        canvas.write(RIGHT, bottom + 32, "latency, ms (logarithmic; left is faster)", align="right")
        for place, row in enumerate(rows):
            _draw_row(axes, place, row)
            _write_row(canvas, top + (place + 0.62) * height, row, marks)
        return canvas.render(title, _describe(rows))


def _draw_row(axes: Any, place: int, row: Histogram) -> None:
    """The shape stands on a line from the first answer to the last; every bin beyond p99 has a dot on it."""
    base, tall = place + 0.84, 0.72
    first, last = row.filled
    edges, density = row.edges[first : last + 2], row.density()[first : last + 1]
    axes.stairs(base - tall * density, edges, baseline=base, fill=True, color=BLUE.hex, alpha=0.4, linewidth=0)
    axes.stairs(base - tall * density, edges, baseline=base, fill=False, color=BLUE.hex, linewidth=1.1)
    axes.plot([edges[0], edges[-1]], [base, base], color=MUTED.hex, linewidth=0.8)
    middles, beyond = np.sqrt(edges[1:] * edges[:-1]), edges[:-1] > row.marks.get("p99_ms", np.inf)
    tail = np.minimum(middles[beyond & (row.counts[first : last + 1] > 0)], row.marks.get("max_ms", np.inf))
    axes.plot(tail, [base] * len(tail), marker="o", markersize=2.6, color=RED.hex, linestyle="none")
    for mark, value in row.marks.items():
        marker, colour = MARKERS[mark]
        size = {"p50_ms": 11, "p99_ms": 5.5, "max_ms": 6}[mark]
        axes.plot(value, base, marker=marker, markersize=size, color=colour, markeredgewidth=1.8, clip_on=False)


def _write_row(canvas: Canvas, y: float, row: Histogram, marks: Sequence[str]) -> None:
    canvas.write_name(4, y, row.name, LEFT - 16)
    for mark in marks:
        canvas.write(COLUMNS[mark], y, number(row.marks[mark]) if mark in row.marks else "–", align="right")


def _keys(rows: Sequence[Histogram]) -> list[Key]:
    keys = [Key("share of answers, each row at its own height", BLUE.hex, line="-")]
    names = {"p50_ms": "p50", "p99_ms": "p99", "max_ms": "slowest"}
    for mark, (marker, colour) in MARKERS.items():
        if any(mark in row.marks for row in rows):
            keys.append(Key(names[mark], colour, marker))
    if any("p99_ms" in row.marks for row in rows):
        keys.append(Key("dots: answers beyond p99"))
    if any("p99_ms" not in row.marks and row.marks for row in rows):
        keys.append(Key("–: too few samples, or not kept"))
    return keys


def _describe(rows: Sequence[Histogram]) -> str:
    told = []
    for row in rows:
        marks = ", ".join(f"{mark[:3]} {number(value)} ms" for mark, value in row.marks.items())
        told.append(f"{row.name}: {row.rows:,} answers{', ' + marks if marks else ''}")
    return f"Distributions of latency. {'; '.join(told)}."
