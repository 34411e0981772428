"""How costs grow, as a picture: a panel an axis, scales logarithmic, the machine's limit beside what was measured.

python -m benchmarks.scale_plot         (writes benchmarks/results/scale.svg from scale.json)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale_table import COSTS, GROWS
from toolkit.errors import DataError
from toolkit.pages.plot_axes import set_log
from toolkit.pages.plot_canvas import NORMAL, WIDTH, Canvas, open_canvas
from toolkit.pages.plot_style import MUTED, SERIES, standalone
from toolkit.staging import write_atomically

RESULTS = Path(__file__).parent / "results"
TOP, PANEL, LEGEND_LINE, SIDE = 40.0, 210.0, 16.0, 52.0
LIMIT_LINE = (0, (1.0, 2.0))


def draw(results: Mapping[str, Any]) -> str:
    """The figure as the text of an .svg file; the same results always give the same text.

    Raises `DataError` for results in which no axis was measured.
    """
    axes = {name: results["axes"][name] for name in GROWS if name in results["axes"]}
    if not axes:
        raise DataError("no axis of the scale run was measured, so there is nothing to draw; run make scale again")
    rows = [list(axes.items())[start : start + 2] for start in range(0, len(axes), 2)]
    legends = [max(len(axis["series"]) + 1 for _, axis in row) * LEGEND_LINE for row in rows]
    height = sum(TOP + PANEL + 44 + legend for legend in legends) + 8
    with open_canvas(height) as canvas:
        top = 0.0
        for row, legend in zip(rows, legends, strict=True):
            for place, (name, axis) in enumerate(row):
                _draw_panel(canvas, name, axis, left=place * WIDTH / 2, top=top)
            top += TOP + PANEL + 44 + legend
        title = f"How the cost of an answer grows, {results['machine']['processor']}"
        return standalone(canvas.render(title, _describe(axes)))


def plot(path: Path, results: Mapping[str, Any]) -> None:
    """Write the figure, unless there is nothing to draw."""
    if results["axes"]:
        write_atomically(path, (draw(results) + "\n").encode())


def _draw_panel(canvas: Canvas, name: str, axis: Mapping[str, Any], *, left: float, top: float) -> None:
    """Measured costs with a marker a point, the range of the rounds as a bar, each limit dotted below."""
    series: Sequence[Mapping[str, Any]] = axis["series"]
    axes = canvas.add_axes(left + SIDE, top + TOP, left + WIDTH / 2 - 14, top + TOP + PANEL)
    points = [point for one in series for point in one["points"]]
    costs = [ms for point in points for ms in (point["ms"], point.get("limit_ms", point["ms"]))]
    set_log(axes.xaxis, min(point["size"] for point in points), max(point["size"] for point in points))
    axes.set_xticks([point["size"] for point in series[0]["points"]])
    set_log(axes.yaxis, min(costs), max(costs), ticks=6)
    canvas.write(left + SIDE, top + 14, f"Milliseconds by {GROWS[name]}", size=NORMAL, bold=True)
    line = top + TOP + PANEL + 40
    drawn: list[list[float]] = []
    for one, style in zip(series, SERIES, strict=False):
        sizes, ms = [p["size"] for p in one["points"]], [p["ms"] for p in one["points"]]
        low, high = ([side(p["rounds_ms"]) for p in one["points"]] for side in (min, max))
        axes.vlines(sizes, low, high, color=style.colour, linewidth=1.0)
        axes.plot(sizes, ms, color=style.colour, marker=style.marker, markersize=5, linewidth=1.4, linestyle=style.line)
        limit = [p["limit_ms"] for p in one["points"] if "limit_ms" in p]
        if limit and limit not in drawn:
            drawn.append(limit)
            axes.plot(sizes, limit, color=style.colour, linewidth=1.2, linestyle=LIMIT_LINE)
        _draw_key(canvas, left + SIDE, line, style.colour, style.marker, style.line)
        canvas.write_name(left + SIDE + 34, line, _label(one), WIDTH / 2 - SIDE - 50)
        line += LEGEND_LINE
    if drawn:
        _draw_key(canvas, left + SIDE, line, MUTED.hex, "", LIMIT_LINE)
        canvas.write(left + SIDE + 34, line, "the machine's limit, in the same colour")


def _draw_key(canvas: Canvas, left: float, middle: float, colour: str, marker: str, line: Any) -> None:
    canvas.draw_line([left, left + 26], [middle] * 2, color=colour, linewidth=1.4, linestyle=line)
    if marker:
        canvas.draw_line([left + 13], [middle], color=colour, marker=marker, markersize=5, linestyle="none")


def _label(one: Mapping[str, Any]) -> str:
    slope = f"slope {one['slope']['value']:.2f}"
    if "what" in one:
        return f"{one['precision']}, {COSTS[one['what']]}, {slope}"
    threads = f"{one['threads']} {'thread' if one['threads'] == 1 else 'threads'}"
    return f"{one['precision']}, {threads}, {one['model'] if one['trained'] else 'stand-in'}, {slope}"


def _describe(axes: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(
        f"{_label(one)}: {one['points'][0]['ms']:.3g} ms at {one['points'][0]['size']} to "
        f"{one['points'][-1]['ms']:.3g} ms at {one['points'][-1]['size']} {GROWS[name]}"
        for name, axis in axes.items()
        for one in axis["series"]
    )


if __name__ == "__main__":
    plot(RESULTS / "scale.svg", json.loads((RESULTS / "scale.json").read_text()))
    sys.exit(0)
