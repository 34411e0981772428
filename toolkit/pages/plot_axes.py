"""Axes that suit a reader: logarithmic ones with 1-2-5 ticks in plain numbers, shares in per cent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.pages.plot_style import MUTED


def number(value: float, digits: int = 3) -> str:
    """About three significant digits, without an exponent and without zeros at the end: 0.148, 34.6, 5,932."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def set_log(axis: Any, low: float, high: float, *, ticks: int = 7, least: float = 1.5) -> tuple[float, float]:
    """Make a logarithmic axis that holds low..high with some room, and return its limits.

    The limits are at least a factor of `least` apart, so that what is nearly alike looks so. Ticks are at
    1, 2 and 5, more over one decade, powers of ten over many, and evenly spaced within a factor of two.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    room = max((high / low) ** 0.05, math.sqrt(least * low / high))
    low, high = low / room, high * room
    {"x": axis.axes.set_xscale, "y": axis.axes.set_yscale}[axis.axis_name]("log")
    {"x": axis.axes.set_xlim, "y": axis.axes.set_ylim}[axis.axis_name](low, high)
    axis.set_major_locator(FixedLocator(log_ticks(low, high, ticks)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_locator(NullLocator())
    return low, high


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """About three to `most` round values within low..high, which must not be one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**e for e in range(first, last + 1) for m in steps if low <= m * 10.0**e <= high]
        if len(found) <= most:
            break
    if len(found) > most:
        found = found[:: -(-len(found) // most)]
    if len(found) >= 3 or high / low > 3:
        return found
    step = nice_step((high - low) / max(2, most - 1))
    while len(found := [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]) < 3:
        step = nice_step(step / 2.5)
    return found


def nice_step(about: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= about * (1 - 1e-9))


def set_linear(axis: Any, values: Sequence[float], *, least: float, ticks: int = 6, suffix: str = "") -> None:
    """Limits around `values` with room, `least` wide when they are all alike; ticks at round numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = min(values), max(values)
    room = max(0.06 * (high - low), (least - (high - low)) / 2, 0.0)
    {"x": axis.axes.set_xlim, "y": axis.axes.set_ylim}[axis.axis_name](low - room, high + room)
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 4) + suffix if abs(value) > 1e-9 else "0"))


def hide_ticks(axes: Any) -> None:
    """Rows that are named in the margin need no axis of their own."""
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def draw_leader(canvas: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A thin line from a label to what it names."""
    canvas.draw_line([start[0], end[0]], [start[1], end[1]], color=MUTED.hex, linewidth=0.6)
