"""Colours of the figures, as CSS variables that a page may set, and a figure as a file of its own.

matplotlib writes plain colours, so every colour here is one that means "this variable"; `plot_canvas` puts
the variable in its place, with the colour for white paper behind it for a page that sets none. Series have
Okabe and Ito's colours (2008), told apart by the colour-blind, and each a marker and a line style too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAMED = 8  # up to so many items are named in the figure, more are numbered as in the table beside it


@dataclass(frozen=True)
class Ink:
    """What matplotlib is told, the CSS variable, and its colours on white and on dark."""

    hex: str
    variable: str
    light: str
    dark: str

    @property
    def css(self) -> str:
        """The colour as it stands in the SVG; ink that no page set is the colour of the text around it."""
        fallback = "currentColor" if self is INK else self.light
        return f"var(--plot-{self.variable}, {fallback})"


INK = Ink("#101112", "ink", "#1a1a1a", "#e6e6e6")
MUTED = Ink("#505152", "muted", "#5c5c5c", "#a9adb3")
GRID = Ink("#d0d1d2", "grid", "#dcdcdc", "#3b3f46")
PAPER = Ink("#fdfeff", "paper", "#ffffff", "#16181c")
BLUE = Ink("#0072b2", "blue", "#0072b2", "#4d9fdb")
RED = Ink("#d55e00", "red", "#d55e00", "#e8762a")
GREEN = Ink("#009e73", "green", "#009e73", "#1fb388")
PURPLE = Ink("#cc79a7", "purple", "#b8659a", "#d78fb6")
ORANGE = Ink("#e69f00", "orange", "#c08400", "#e8ab25")
SKY = Ink("#56b4e9", "sky", "#3896cc", "#7cc6f0")
INKS = (INK, MUTED, GRID, PAPER, BLUE, RED, GREEN, PURPLE, ORANGE, SKY)


@dataclass(frozen=True)
class Series:
    """How one of several is drawn: by colour, by marker and by line, so that each alone would do."""

    colour: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]


SERIES = (
    Series(BLUE.hex, "o", "-"),
    Series(RED.hex, "s", (0, (6.0, 2.0))),
    Series(GREEN.hex, "^", (0, (2.0, 1.5))),
    Series(PURPLE.hex, "D", (0, (8.0, 2.0, 2.0, 2.0))),
    Series(INK.hex, "v", "-"),
    Series(ORANGE.hex, "P", (0, (4.0, 2.0))),
    Series(SKY.hex, "X", (0, (10.0, 3.0))),
    Series(MUTED.hex, "h", "-"),
)

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', 'DejaVu Sans', sans-serif"


def _variables(kind: str) -> str:
    return " ".join(f"--plot-{ink.variable}: {getattr(ink, kind)};" for ink in INKS)


# the dark rule is for screens only, so that a reader who prefers dark still prints black on white
PLOT_CSS = f"""\
:root {{ {_variables("light")} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables("dark")} }} }}
.plot {{ display: block; width: 100%; height: auto; max-width: 60rem; }}
.plot-lineage {{ display: flex; flex-wrap: wrap; row-gap: 1.1rem; margin: 0;
  padding: 0.5rem 0 0; list-style: none; }}
.plot-lineage > li {{ position: relative; flex: 1 1 9rem; min-width: 0; max-width: 16rem;
  padding: 0.8rem 1rem 0 0; border-top: 2px solid var(--plot-muted, #5c5c5c); overflow-wrap: anywhere; }}
.plot-lineage > li::before {{ content: ""; position: absolute; top: -0.45rem; left: 0; width: 0.75rem; height: 0.75rem;
  border-radius: 50%; border: 2px solid var(--plot-paper, #fff); box-sizing: border-box;
  background: var(--plot-blue, #0072b2); print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.plot-lineage > li:last-child {{ border-top-color: transparent; }}
.plot-lineage > li:last-child::before {{ background: var(--plot-red, #d55e00); border-radius: 0;
  transform: rotate(45deg); }}
.plot-lineage b {{ display: block; }}
.plot-lineage .result {{ display: block; font-variant-numeric: tabular-nums; }}
.plot-lineage .detail {{ display: block; color: var(--plot-muted, #5c5c5c); font-size: 0.85em; }}
@media print {{ .plot, .plot-lineage {{ break-inside: avoid; }} .plot {{ max-height: 92vh; }} }}
"""


def standalone(svg: str) -> str:
    """The figure as the text of an .svg file: with its own colours and paper, and a size in pixels.

    For pictures in a README or an image viewer; a page that holds the figure inline wants the figure itself.
    """
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if found is None:
        raise ValueError("this is no figure of toolkit.pages.plots: it has no viewBox")
    svg = svg.replace(' width="100%"', f' width="{found[1]}" height="{found[2]}"', 1)
    style = f"<style>{PLOT_CSS.split('.plot ', 1)[0]}svg {{ background: var(--plot-paper); color: var(--plot-ink); }}"
    return svg.replace("<title", f"{style}</style><title", 1)
