"""The key of a figure: marks with their words in a line that wraps, above what they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.pages.plot_canvas import SMALL, WIDTH
from toolkit.pages.plot_style import MUTED, PAPER
from toolkit.pages.plot_text import shorten, text_width

LINE = 19.0  # pixels of one line of the key
_MARK, _GAP, _WIDEST = 26.0, 16.0, 360.0


@dataclass(frozen=True)
class Key:
    """Words and the mark they stand for: a marker, a line, both, or neither (a remark)."""

    words: str
    colour: str = MUTED.hex
    marker: str = ""
    line: Any = ""
    filled: bool = True
    wide: float = 1.8

    @property
    def room(self) -> float:
        """Pixels before the words."""
        return _MARK if self.marker or self.line else 0.0


def lay_out(keys: Sequence[Key], left: float, right: float = WIDTH - 4) -> list[list[tuple[float, Key]]]:
    """The keys in lines, each with its place from the left, in pixels."""
    lines: list[list[tuple[float, Key]]] = []
    x = right
    for key in keys:
        width = key.room + min(text_width(key.words, SMALL), _widest(key, left, right))
        if not lines or x + width > right:
            lines.append([])
            x = left
        lines[-1].append((x, key))
        x += width + _GAP
    return lines


def _widest(key: Key, left: float, right: float) -> float:
    return (_WIDEST if key.room else right - left) - key.room


def draw_keys(canvas: Any, lines: Sequence[Sequence[tuple[float, Key]]], top: float) -> None:
    """Draw what `lay_out` gave, its first line's middle at `top`."""
    for i, line in enumerate(lines):
        y = top + i * LINE
        for x, key in line:
            if key.line:
                canvas.draw_line([x, x + 20], [y, y], color=key.colour, linewidth=key.wide, linestyle=key.line)
            if key.marker:
                canvas.draw_line([x + 10], [y], linestyle="none", markersize=7.0, **marked(key, key.filled))
            widest = _widest(key, line[0][0], WIDTH - 4)
            canvas.write(x + key.room, y, shorten(key.words, widest, SMALL), full=key.words)


def marked(style: Any, filled: bool = True) -> dict[str, Any]:
    """The settings of a marker of `style` (a Key or a Series): filled, or a ring with the paper within."""
    return {
        "marker": style.marker, "markeredgecolor": style.colour, "markeredgewidth": 1.4,
        "markerfacecolor": style.colour if filled else PAPER.hex,
    }  # fmt: skip
