"""Calibration: how often an answer is right against how sure the model said it was, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.errors import DataError
from toolkit.judge.statistics import wilson_interval
from toolkit.pages.plot_axes import number
from toolkit.pages.plot_canvas import NORMAL, Canvas, open_canvas
from toolkit.pages.plot_data import CalibrationBin
from toolkit.pages.plot_legend import LINE, Key, draw_keys, lay_out, marked
from toolkit.pages.plot_style import BLUE, INK, MUTED, RED, Series

SIDE, GAP, LEFT, BETWEEN = 296.0, 56.0, 52.0, 20.0
FEW = 20  # rows under which a bin says little
ROWS_TALL = 54.0  # of the counts below each square
STYLES = (Series(BLUE.hex, "o", "-"), Series(RED.hex, "s", "-"))


def draw_calibration(
    before_bins: Sequence[CalibrationBin], after_bins: Sequence[CalibrationBin], *, names: tuple[str, str], title: str
) -> str:
    """See `plots.calibration`."""
    given = zip(names, (before_bins, after_bins), STYLES, strict=True)
    shown = [(name, bins, style) for name, bins, style in given if any(one.rows for one in bins)]
    if not shown:
        raise DataError("no bin of confidence has a row; compare two models with toolkit verify")
    keys = [
        Key("share right in a bin of confidence, 95 % interval", INK.hex, "o", "-"),
        Key("as often right as it is sure", MUTED.hex, line=(0, (1.5, 2.5)), wide=1.0),
        Key("below it: too sure"),
    ]
    if any(0 < one.rows < FEW for _, bins, _ in shown for one in bins):
        keys.append(Key(f"hollow: under {FEW} rows"))
    lines = lay_out(keys, LEFT)
    top = len(lines) * LINE + 58
    least = min(one.low for _, bins, _ in shown for one in bins if one.rows)
    most = max(one.rows for _, bins, _ in shown for one in bins)
    with open_canvas(top + SIDE + BETWEEN + ROWS_TALL + 44) as canvas:
        draw_keys(canvas, lines, 12)
        canvas.write(4, top - 18, "right, %")
        for place, (name, bins, style) in enumerate(shown):
            left = LEFT + place * (SIDE + GAP)
            _draw_one(canvas, left, top, name, bins, style, least=math.floor(10 * least) / 10, most=most)
        return canvas.render(title, _describe(shown))


def mean_gap(bins: Sequence[CalibrationBin]) -> float:
    """Mean distance of confidence and share right, weighted by rows: the expected calibration error of these bins."""
    rows = sum(one.rows for one in bins)
    return sum(one.rows * abs((one.confidence or 0.0) - (one.accuracy or 0.0)) for one in bins) / rows


def _draw_one(
    canvas: Canvas, left: float, top: float, name: str, bins: Sequence[CalibrationBin], style: Series, *,
    least: float, most: int,
) -> None:  # fmt: skip
    gap = f"calibration error {number(round(100 * mean_gap(bins), 2))} %"
    canvas.write(left + SIDE, top - 18, gap, align="right")
    canvas.write_name(left + 6, top - 36, name, SIDE, size=NORMAL, bold=True)
    axes = canvas.add_axes(left, top, left + SIDE, top + SIDE)
    below = canvas.add_axes(left, top + SIDE + BETWEEN, left + SIDE, top + SIDE + BETWEEN + ROWS_TALL)
    low = 100 * least
    for one in (axes, below):
        one.set_xlim(low, 100)
    axes.set_ylim(0, 100)
    axes.set_xticklabels([])
    axes.plot([low, 100], [low, 100], color=MUTED.hex, linewidth=1.0, linestyle=(0, (1.5, 2.5)))
    full = [one for one in bins if one.rows]
    places = [100 * (one.confidence or 0.0) for one in full]
    axes.plot(places, [100 * (one.accuracy or 0.0) for one in full], color=style.colour, linewidth=1.4)
    for x, one in zip(places, full, strict=True):
        interval = wilson_interval((one.accuracy or 0.0) * one.rows, one.rows)
        axes.plot([x, x], [100 * interval.low, 100 * interval.high], color=style.colour, linewidth=1.1, clip_on=False)
        mark: dict[str, Any] = {**marked(style, filled=one.rows >= FEW), "markersize": 6.0, "linestyle": "none"}
        axes.plot(x, 100 * interval.value, clip_on=False, zorder=3, **mark)
        below.bar(
            100 * one.low, one.rows, width=100 * (one.high - one.low), align="edge", color=style.colour, alpha=0.5,
            linewidth=0,
        )  # fmt: skip
    below.set_ylim(0, most)
    below.set_yticks([0, most], ["0", f"{most:,}"])
    below.grid(visible=False, axis="y")
    canvas.write(left + SIDE, top + SIDE + BETWEEN + ROWS_TALL + 34, "confidence, %; rows in each bin", align="right")


def _describe(shown: Sequence[tuple[str, Sequence[CalibrationBin], Series]]) -> str:
    told = [
        f"{name}: {sum(one.rows for one in bins):,} rows, calibration error {number(round(100 * mean_gap(bins), 2))} %"
        for name, bins, _ in shown
    ]
    return f"Share right against confidence. {'; '.join(told)}."
