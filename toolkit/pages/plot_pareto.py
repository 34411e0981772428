"""Accuracy against latency, and the front: those that no other is both faster and more accurate than."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.pages.plot_axes import draw_leader, number, set_linear, set_log
from toolkit.pages.plot_canvas import SMALL, WIDTH, Canvas, open_canvas
from toolkit.pages.plot_data import ParetoPoint, drawn
from toolkit.pages.plot_legend import LINE, Key, draw_keys, lay_out
from toolkit.pages.plot_style import BLUE, MUTED, NAMED, RED
from toolkit.pages.plot_text import place_labels, shorten, text_width

LEFT, RIGHT, TALL = 52.0, WIDTH - 12, 330.0
SMALLEST, LARGEST, UNSIZED = 3.5, 12.0, 5.0  # radii in pixels
NAME_WIDTH = 170.0


def draw_pareto(points: Sequence[ParetoPoint], *, title: str) -> str:
    """See `plots.pareto`."""
    known = [(i, p) for i, p in enumerate(points, 1) if p.accuracy is not None and drawn((p.p99_ms, p.p50_ms))]
    quantity = "p99_ms" if all(p.p99_ms is not None for _, p in known) else "p50_ms"
    shown = [(i, p) for i, p in known if getattr(p, quantity) is not None]
    if not shown:
        raise DataError("no artifact has both an accuracy and a latency; measure with toolkit verify and toolkit bench")
    front = find_front([(getattr(p, quantity), p.accuracy or 0.0) for _, p in shown])
    keys = _keys(shown, front, len(points) - len(shown))
    lines = lay_out(keys, LEFT)
    top = len(lines) * LINE + 34
    with open_canvas(top + TALL + 42) as canvas:
        draw_keys(canvas, lines, 12)
        canvas.write(4, top - 14, "accuracy, %")
        words = f"{quantity[:3]} latency, ms (logarithmic; left is faster)"
        canvas.write(RIGHT, top + TALL + 32, words, align="right")
        axes = canvas.add_axes(LEFT, top, RIGHT, top + TALL)
        _draw_points(canvas, axes, shown, front, quantity)
        return canvas.render(title, _describe(shown, front, quantity))


def find_front(places: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of (latency, accuracy) that no other beats in one without losing in the other, fastest first."""
    best = -math.inf
    front: list[int] = []
    for i in sorted(range(len(places)), key=lambda i: (places[i][0], -places[i][1])):
        if places[i][1] > best or (front and places[i] == places[front[-1]]):
            best = places[i][1]
            front.append(i)
    return front


def _radii(points: Sequence[ParetoPoint]) -> list[float]:
    """Area by size, the largest at `LARGEST`."""
    most = max((p.size_bytes or 0 for p in points), default=0)
    sized = [LARGEST * math.sqrt(p.size_bytes / most) if p.size_bytes and most else UNSIZED for p in points]
    return [max(SMALLEST, radius) for radius in sized]


def _draw_points(
    canvas: Canvas, axes: Any, shown: Sequence[tuple[int, ParetoPoint]], front: Sequence[int], quantity: str
) -> None:
    points = [p for _, p in shown]
    xs = [float(getattr(p, quantity)) for p in points]
    ys = [100 * float(p.accuracy or 0) for p in points]
    ends = [100 * end for p in points for end in drawn((p.low, p.high))]
    _, right = set_log(axes.xaxis, min(xs) / 1.04, max(xs) * 1.08, least=3.0)
    set_linear(axes.yaxis, [*ys, *ends], least=2.0)
    references = [y for p, y in zip(points, ys, strict=True) if p.reference]
    if len(references) == 1:
        axes.axhline(references[0], color=RED.hex, linewidth=1.0, linestyle=(0, (1.5, 2.5)))
    steps = [(xs[i], ys[i]) for i in front] + [(right, ys[front[-1]])]
    axes.step([x for x, _ in steps], [y for _, y in steps], where="post", color=BLUE.hex, linewidth=2.0, zorder=2)
    radii = _radii(points)
    from matplotlib.colors import to_rgba

    faint = 0.75 if len(points) <= NAMED else 0.4
    # large ones first, so that none hides another
    for i in sorted(range(len(points)), key=lambda i: -radii[i]):
        colour = RED.hex if points[i].reference else BLUE.hex if i in front else MUTED.hex
        if points[i].low is not None and points[i].high is not None:
            span = [100 * float(points[i].low or 0), 100 * float(points[i].high or 0)]
            axes.plot([xs[i]] * 2, span, color=colour, alpha=faint, linewidth=1.1, marker="_", markersize=5, zorder=1.9)
        axes.plot(
            xs[i], ys[i], marker="D" if points[i].reference else "o", linestyle="none", zorder=3,
            markersize=2 * radii[i] * (0.86 if points[i].reference else 1.0), markeredgecolor=colour,
            markeredgewidth=1.5, markerfacecolor=to_rgba(colour, 0.55 if i in front else 0.1), clip_on=False,
        )  # fmt: skip
    places = np.array([canvas.to_pixels(axes, x, y) for x, y in zip(xs, ys, strict=True)])
    _draw_labels(canvas, shown, places, np.array(radii), _lines_to_avoid(canvas, axes, points, xs, steps))


def _lines_to_avoid(
    canvas: Canvas, axes: Any, points: Sequence[ParetoPoint], xs: Sequence[float], steps: Sequence[tuple[float, float]]
) -> list[list[float]]:
    """Boxes around the whiskers and the front, in pixels."""
    segments = [
        ((x, 100 * p.low), (x, 100 * p.high))
        for p, x in zip(points, xs, strict=True)
        if p.low is not None and p.high is not None
    ]
    for (x, y), (after, above) in pairwise(steps):
        segments += [((x, y), (after, y)), ((after, y), (after, above))]
    boxes = []
    for segment in segments:
        (left, low), (right, high) = (canvas.to_pixels(axes, *end) for end in segment)
        boxes.append([min(left, right) - 1, min(low, high) - 1, max(left, right) + 1, max(low, high) + 1])
    return boxes


def _draw_labels(
    canvas: Canvas, shown: Sequence[tuple[int, ParetoPoint]], places: Any, radii: Any, lines: list[list[float]]
) -> None:
    named = len(shown) <= NAMED
    labels = [shorten(p.name, NAME_WIDTH - 22 * p.reference, SMALL) if named else str(i) for i, p in shown]
    sizes = np.array(
        [
            [text_width(label, SMALL) * (1.13 if p.reference else 1.0) + 2, SMALL + 2]
            for (_, p), label in zip(shown, labels, strict=True)
        ]
    )
    markers = [[x - r, y - r, x + r, y + r] for (x, y), r in zip(places, radii, strict=True)]
    bounds = (LEFT + 4, 0.0, WIDTH - 2, canvas.height - 50)
    centres = place_labels(places, sizes, np.array(markers + lines), bounds, clear=radii)
    for (_, point), label, centre, size, place, radius in zip(
        shown, labels, centres, sizes, places, radii, strict=True
    ):
        edge = np.clip(place, centre - size / 2, centre + size / 2)
        if np.hypot(*(edge - place)) > radius + 9:
            draw_leader(canvas, tuple(edge), tuple(place))
        canvas.write(centre[0], centre[1], label, full=point.name, align="center", bold=point.reference)


def _keys(shown: Sequence[tuple[int, ParetoPoint]], front: Sequence[int], missing: int) -> list[Key]:
    points = [p for _, p in shown]
    keys = [Key("the front: none is both faster and as accurate", BLUE.hex, "o", "-")]
    if (references := sum(p.reference for p in points)) == 1:
        keys.append(Key("the reference", RED.hex, "D", (0, (1.5, 2.5)), wide=1.0))
    elif references:
        keys.append(Key("the references", RED.hex, "D"))
    if any(i not in front and not p.reference for i, p in enumerate(points)):
        keys.append(Key("not on it", MUTED.hex, "o", filled=False))
    if any(p.low is not None and p.high is not None for p in points):
        keys.append(Key("bar: 95 % interval"))
    sizes = sorted(p.size_bytes for p in points if p.size_bytes)
    if sizes:
        span = [number(size / 1e6) for size in (sizes[0], sizes[-1])]
        keys.append(Key(f"area: size, {span[0] if sizes[0] == sizes[-1] else ' to '.join(span)} MB"))
    if len(points) > NAMED:
        keys.append(Key("numbers: as in the table"))
    if missing:
        keys.append(Key(f"{missing} without accuracy or latency not drawn"))
    return keys


def _describe(shown: Sequence[tuple[int, ParetoPoint]], front: Sequence[int], quantity: str) -> str:
    told = [
        f"{shown[i][1].name}: {100 * float(shown[i][1].accuracy or 0):.1f} % at "
        f"{number(getattr(shown[i][1], quantity))} ms"
        for i in front
    ]
    return f"{len(shown)} artifacts, accuracy against {quantity[:3]}. On the front, fastest first: {'; '.join(told)}."
