"""Names in figures: cleaned for XML, shortened to a width, and labels that keep out of each other's way.

Widths are estimates for a wide sans-serif (DejaVu Sans), because the reader's font is not known; most fonts
are narrower, so a label that fits here fits there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from toolkit.spec import Array

ELLIPSIS = "…"
NARROW, BROAD = frozenset("iljtfrI.,:;'|!()[]- "), frozenset("mwMW@%")


def clean(text: str) -> str:
    """One line that XML can hold: white space single, control and direction signs replaced or removed."""
    kept = []
    for sign in text:
        kind = unicodedata.category(sign)
        if sign.isspace():
            kept.append(" ")
        elif kind in ("Cc", "Cs", "Cn"):
            kept.append("\ufffd")
        elif kind != "Cf" or sign in "\u200c\u200d":  # the joiners shape Persian and Indian letters
            kept.append(sign)
    return " ".join("".join(kept).split()) or "–"


def text_width(text: str, size: float) -> float:
    """About how wide `text` is in a font of `size`, in the unit of `size`."""
    return size * sum(_em(sign) for sign in text)


def _em(sign: str) -> float:
    if unicodedata.combining(sign):
        return 0.0
    if unicodedata.east_asian_width(sign) in "WF":
        return 1.02
    if sign in NARROW:
        return 0.38
    if sign in BROAD:
        return 0.95
    return 0.72 if sign.isupper() else 0.62


def shorten(text: str, width: float, size: float) -> str:
    """`text` if it fits into `width`, else its beginning and its end: names of one family differ at both."""
    text = clean(text)
    if text_width(text, size) <= width:
        return text
    for keep in range(len(text) - 1, 1, -1):
        head = (keep + 1) // 2
        short = text[:head].rstrip() + ELLIPSIS + text[len(text) - (keep - head) :].lstrip()
        if text_width(short, size) <= width:
            return short
    return ELLIPSIS


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved as little as needed to lie `gap` apart within low..high, in their order.

    With too many for the room they are spaced evenly over it.
    """
    if not places:
        return []
    order = np.argsort(places, kind="stable")
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    shifts = gap * np.arange(len(places))
    wanted = np.clip(np.asarray(places, dtype=float)[order], low, high) - shifts
    moved = np.clip(_isotonic(wanted), low, high - shifts[-1]) + shifts
    result = np.empty(len(places))
    result[order] = moved
    return [float(value) for value in result]


def _isotonic(values: Array) -> Array:
    """The closest values that never fall (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (right, n), (left, m) = blocks.pop(), blocks.pop()
            blocks.append(((left * m + right * n) / (m + n), m + n))
    return np.repeat([mean for mean, _ in blocks], [n for _, n in blocks])


RADII, ANGLES = (
    (0.0, 7.0, 14.0, 24.0, 36.0, 52.0, 72.0),
    np.radians((0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200)),
)


def place_labels(
    anchors: Array, sizes: Array, obstacles: Array, bounds: tuple[float, float, float, float], *, clear: Array
) -> Array:
    """Centres (n, 2) for labels of `sizes` (n, 2) near `anchors` (n, 2), as free as can be of each other.

    `obstacles` (m, 4) are boxes (left, low, right, high) to keep off, `bounds` the box to stay in, `clear` (n,)
    the radius of each marker. Earlier labels choose first. Deterministic; n of 40 takes some milliseconds.
    """
    taken = [np.asarray(box, dtype=float) for box in obstacles]
    centres = np.zeros((len(anchors), 2))
    for i, (anchor, half, radius) in enumerate(zip(anchors, sizes / 2, clear, strict=True)):
        best, lowest = anchor, np.inf
        boxes = np.asarray(taken).reshape(-1, 4)
        for far in RADII:
            for rank, angle in enumerate(ANGLES):
                away = np.array([np.cos(angle), np.sin(angle)])
                centre = anchor + away * (radius + 3 + far) + np.sign(np.round(away, 6)) * half * np.abs(away) ** 0.35
                box = np.array([*(centre - half), *(centre + half)])
                cost = _overlap(box, boxes) + 40 * _outside(box, bounds) + 1.6 * far + 0.15 * rank
                if cost < lowest:
                    best, lowest = centre, cost
        centres[i] = best
        taken.append(np.array([*(best - half), *(best + half)]))
    return centres


def _overlap(box: Array, boxes: Array) -> float:
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    return float((np.clip(width, 0, None) * np.clip(height, 0, None)).sum())


def _outside(box: Array, bounds: tuple[float, float, float, float]) -> float:
    return float(
        max(0.0, bounds[0] - box[0]) + max(0.0, bounds[1] - box[1])
        + max(0.0, box[2] - bounds[2]) + max(0.0, box[3] - bounds[3])
    )  # fmt: skip
