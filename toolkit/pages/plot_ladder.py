"""The ladder: p50 to p99 on every rung, so that what a layer adds is the distance of two lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.errors import DataError
from toolkit.pages.plot_axes import hide_ticks, number, set_log
from toolkit.pages.plot_canvas import WIDTH, Canvas, open_canvas
from toolkit.pages.plot_data import LadderRow, RungTime, drawn
from toolkit.pages.plot_legend import LINE, Key, draw_keys, lay_out, marked
from toolkit.pages.plot_style import GRID, MUTED, NAMED, SERIES, Series

LEFT, RIGHT = 168.0, 606.0


def draw_ladder(rows: Sequence[LadderRow], *, title: str) -> str:
    """See `plots.ladder`."""
    rungs = list(dict.fromkeys(rung.rung for row in rows for rung in row.rungs))
    times = drawn(time for row in rows for rung in row.rungs for time in (rung.p50_ms, rung.p99_ms))
    if not times:
        raise DataError("no rung was measured of any artifact; measure with toolkit bench --ladder")
    styles = {rung: SERIES[i % len(SERIES)] for i, rung in enumerate(rungs)}
    told = len(rows) <= NAMED
    step = 17.0 if told else 7.0
    height = max(step * len(rungs) + (13.0 if told else 9.0), 20.0)
    lines = lay_out(_keys(rows, styles), 4)
    top = len(lines) * LINE + 46
    bottom = top + height * len(rows)
    with open_canvas(bottom + 44) as canvas:
        draw_keys(canvas, lines, 12)
        axes = canvas.add_axes(LEFT, top, RIGHT, bottom)
        set_log(axes.xaxis, min(times), max(times))
        axes.set_ylim(bottom - top, 0)
        hide_ticks(axes)
        if bottom - top > 400:
            axes.tick_params(top=True, labeltop=True)
        if told:
            canvas.write(WIDTH - 4, top - 14, "p50 – p99, ms", align="right", colour=MUTED.hex)
        canvas.write(RIGHT, bottom + 32, "latency, ms (logarithmic; left is faster)", align="right")
        for place, row in enumerate(rows):
            start = place * height
            if place:
                canvas.draw_line([4, WIDTH - 4], [top + start] * 2, color=GRID.hex, linewidth=0.8)
            canvas.write_name(4, top + start + height / 2, row.name, LEFT - 16)
            measured = {rung.rung: rung for rung in row.rungs}
            free = (height - step * (len(rungs) - 1)) / 2
            for level, rung in enumerate(rungs):
                _draw_rung(canvas, axes, start + free + level * step, top, measured.get(rung), styles[rung], told=told)
        return canvas.render(title, _describe(rows))


def _draw_rung(
    canvas: Canvas, axes: Any, y: float, top: float, time: RungTime | None, style: Series, *, told: bool
) -> None:
    """p50 is filled, p99 a ring; one that was not measured has a dash where its numbers would stand."""
    ends = [] if time is None else [("p50", time.p50_ms), ("p99", time.p99_ms)]
    places = drawn(value for _, value in ends)
    size = 6.5 if told else 4.0
    if len(places) == 2:
        axes.plot(places, [y, y], color=style.colour, linewidth=1.8 if told else 1.2, linestyle=style.line)
    for name, value in ends:
        if value is not None:
            axes.plot(value, y, linestyle="none", markersize=size, clip_on=False, **marked(style, name == "p50"))
    if told:
        words = " – ".join("–" if value is None else number(value) for _, value in ends) if places else "not measured"
        canvas.write(WIDTH - 4, top + y, words.replace(" – –", " (p99: few)"), align="right")


def _keys(rows: Sequence[LadderRow], styles: dict[str, Series]) -> list[Key]:
    keys = [Key(rung, style.colour, style.marker, style.line) for rung, style in styles.items()]
    keys.append(Key("filled: p50; ring: p99"))
    if any(rung.p99_ms is None and rung.p50_ms is not None for row in rows for rung in row.rungs):
        keys.append(Key("no ring: too few samples for p99"))
    if len(rows) > NAMED and any(len(row.rungs) < len(styles) for row in rows):
        keys.append(Key("empty: not measured"))
    return keys


def _describe(rows: Sequence[LadderRow]) -> str:
    told = []
    for row in rows:
        times = [
            f"{rung.rung} p50 {number(rung.p50_ms)} ms" + (f", p99 {number(rung.p99_ms)} ms" if rung.p99_ms else "")
            for rung in row.rungs
            if rung.p50_ms is not None
        ]
        told.append(f"{row.name}: {', '.join(times) or 'not measured'}")
    return f"Latency on every rung. {'; '.join(told)}."
