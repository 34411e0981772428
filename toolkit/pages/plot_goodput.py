"""Goodput against offered load: right answers in time a second, and the line on which nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.pages.plot_axes import draw_leader, log_ticks, number, set_log
from toolkit.pages.plot_canvas import SMALL, WIDTH, Canvas, open_canvas
from toolkit.pages.plot_data import LoadPoint, LoadSeries, drawn
from toolkit.pages.plot_legend import LINE, Key, draw_keys, lay_out, marked
from toolkit.pages.plot_style import BLUE, INK, MUTED, NAMED, SERIES, Series
from toolkit.pages.plot_text import place_labels, spread, text_width

LEFT, RIGHT, TALL = 52.0, WIDTH - 12, 330.0
LABELS = 150.0  # pixels to the right of the last load for names
WIDE = 12.0  # beyond this ratio of the loads both axes are logarithmic


def draw_goodput(series: Sequence[LoadSeries], objective_ms: float, *, title: str) -> str:
    """See `plots.goodput`."""
    shown = [(i, one) for i, one in enumerate(series, 1) if one.points]
    if not shown:
        raise DataError("no load was offered to any artifact; measure with toolkit bench --ladder --objective MS")
    styles = _styles([one for _, one in shown])
    lines = lay_out(_keys(shown, styles, len(series) - len(shown)), LEFT)
    top = len(lines) * LINE + 36
    named = len(shown) <= NAMED
    right = RIGHT - (LABELS if named else 12)
    with open_canvas(top + TALL + 44) as canvas:
        draw_keys(canvas, lines, 12)
        canvas.write(4, top - 16, f"goodput: right answers within {number(objective_ms)} ms, a second")
        axes = canvas.add_axes(LEFT, top, right, top + TALL)
        logarithmic = _set_axes(axes, [one for _, one in shown])
        words = "offered, requests a second" + (" (both axes logarithmic)" if logarithmic else "")
        canvas.write(right, top + TALL + 33, words, align="right")
        for (_, one), style in zip(shown, styles, strict=True):
            _draw_series(axes, one, style)
        _label_ends(canvas, axes, shown, styles, right)
        return canvas.render(title, _describe(shown, objective_ms))


def _styles(series: Sequence[LoadSeries]) -> list[Series]:
    """A style each; of many only the best stands out, the others are told by their numbers."""
    if len(series) <= NAMED:
        return [SERIES[i] for i in range(len(series))]
    best = max(range(len(series)), key=lambda i: max(point.goodput for point in series[i].points))
    return [Series(BLUE.hex if i == best else MUTED.hex, "o", "-") for i in range(len(series))]


def _set_axes(axes: Any, series: Sequence[LoadSeries]) -> bool:
    """Both alike, so that the line of no loss is straight; a goodput of 0 stands on the lower edge."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    offered = [point.offered for one in series for point in one.points] + drawn(one.peak for one in series)
    goodput = [point.goodput for one in series for point in one.points]
    if max(offered) / min(offered) <= WIDE:
        for axis, most in ((axes.xaxis, max(offered)), (axes.yaxis, max([*goodput, min(offered)]))):
            {"x": axes.set_xlim, "y": axes.set_ylim}[axis.axis_name](0, 1.06 * most)
            axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 4)))
        axes.axline((0, 0), slope=1, color=MUTED.hex, linewidth=1.0, linestyle=(0, (1.5, 2.5)))
        return False
    set_log(axes.xaxis, min(offered), max(offered))
    low, high = set_log(
        axes.yaxis, min([value for value in goodput if value > 0] or offered), max([*goodput, *offered])
    )
    if min(goodput) == 0:
        zero = low / 1.6
        axes.set_ylim(zero, high)
        axes.yaxis.set_major_locator(FixedLocator([zero, *log_ticks(low, high, 7)]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value <= zero * 1.001 else number(value)))
    ends = [min(offered) / 10, max(offered) * 10]
    axes.plot(ends, ends, color=MUTED.hex, linewidth=1.0, linestyle=(0, (1.5, 2.5)), scalex=False, scaley=False)
    return True


def _draw_series(axes: Any, one: LoadSeries, style: Series) -> None:
    floor = axes.get_ylim()[0]
    points = _sorted(one)
    heights = [max(floor, point.goodput) for point in points]
    wide = 1.8 if style.colour != MUTED.hex else 1.1
    axes.plot([p.offered for p in points], heights, color=style.colour, linestyle=style.line, linewidth=wide)
    for point, height in zip(points, heights, strict=True):
        size = 3.0 if point.holds is None else 6.5 if style.colour != MUTED.hex else 4.5
        mark = marked(style, filled=point.holds is not False)
        axes.plot(point.offered, height, linestyle="none", markersize=size, clip_on=False, zorder=3, **mark)
    if one.peak is not None:
        axes.plot(
            one.peak, 0.012, transform=axes.get_xaxis_transform(), marker=6, markersize=8, linestyle="none",
            color=style.colour, clip_on=False, zorder=4,
        )  # fmt: skip


def _label_ends(
    canvas: Canvas, axes: Any, shown: Sequence[tuple[int, LoadSeries]], styles: Sequence[Series], right: float
) -> None:
    """The name in the margin, or of many the number at the last point of each; kept off each other."""
    floor = axes.get_ylim()[0]
    marks = [
        [canvas.to_pixels(axes, point.offered, max(floor, point.goodput)) for point in _sorted(one)] for _, one in shown
    ]
    ends = [places[-1] for places in marks]
    if len(shown) > NAMED:
        _number_ends(canvas, shown, styles, ends, [place for places in marks for place in places])
        return
    ys = spread([y for _, y in ends], SMALL + 4, 30, canvas.height - 50)
    for (_, one), style, end, y in zip(shown, styles, ends, ys, strict=True):
        draw_leader(canvas, (end[0] + 5, end[1]), (right + 12, y))
        canvas.draw_line([right + 19], [y], linestyle="none", markersize=6.0, **marked(style))
        canvas.write_name(right + 27, y, one.name, WIDTH - right - 30)


def _number_ends(
    canvas: Canvas, shown: Sequence[tuple[int, LoadSeries]], styles: Sequence[Series],
    ends: Sequence[tuple[float, float]], marks: Sequence[tuple[float, float]],
) -> None:  # fmt: skip
    sizes = np.array([[text_width(str(i), SMALL) + 2, SMALL + 1] for i, _ in shown])
    obstacles = np.array([[x - 4, y - 4, x + 4, y + 4] for x, y in marks])
    bounds = (LEFT + 2, 20.0, WIDTH - 2, canvas.height - 52)
    centres = place_labels(np.array(ends), sizes, obstacles, bounds, clear=np.full(len(shown), 4.0))
    for (i, one), style, end, centre, size in zip(shown, styles, ends, centres, sizes, strict=True):
        edge = np.clip(end, centre - size / 2, centre + size / 2)
        if np.hypot(*(edge - end)) > 12:
            draw_leader(canvas, (float(edge[0]), float(edge[1])), end)
        best = style.colour == BLUE.hex
        colour = BLUE.hex if best else INK.hex
        canvas.write(centre[0], centre[1], str(i), full=one.name, align="center", colour=colour, bold=best)


def _sorted(one: LoadSeries) -> list[LoadPoint]:
    return sorted(one.points, key=lambda point: point.offered)


def _keys(shown: Sequence[tuple[int, LoadSeries]], styles: Sequence[Series], missing: int) -> list[Key]:
    keys = []
    verdicts = {point.holds for _, one in shown for point in one.points}
    ink = Series(INK.hex, "o", "")
    if True in verdicts:
        keys.append(Key("the objective holds", ink.colour, ink.marker))
    if False in verdicts:
        keys.append(Key("it does not", ink.colour, ink.marker, filled=False))
    if None in verdicts:
        keys.append(Key("small: cannot be told, or not asked"))
    if any(one.peak is not None for _, one in shown):
        keys.append(Key("peak under the objective", INK.hex, "^"))
    keys.append(Key("all that is offered", MUTED.hex, line=(0, (1.5, 2.5)), wide=1.0))
    if len(shown) > NAMED:
        best = next(one.name for (_, one), style in zip(shown, styles, strict=True) if style.colour == BLUE.hex)
        keys += [Key(f"the most: {best}", BLUE.hex, line="-"), Key("numbers: as in the table")]
    if missing:
        keys.append(Key(f"{missing} without open loads not drawn"))
    return keys


def _describe(shown: Sequence[tuple[int, LoadSeries]], objective_ms: float) -> str:
    told = []
    for _, one in shown:
        best = max(one.points, key=lambda point: point.goodput)
        peak = "" if one.peak is None else f", peak under the objective {number(one.peak)}"
        told.append(f"{one.name}: most {number(best.goodput)} of {number(best.offered)} offered{peak}")
    return f"Right answers within {number(objective_ms)} ms, a second. {'; '.join(told)}."
