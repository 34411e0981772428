"""A matplotlib figure in pixels, and its way to an SVG that can stand beside others in a page.

matplotlib's SVG is right but made for a file: fixed colours, a fixed size, a style for every element of the
page, ids on everything, a date. Here its tree is read once and put right: colours become CSS variables, the
fonts the reader's own, ids (only the needed ones) get a prefix made from the content, names that
were shortened carry the whole name as a tooltip, and a title and a description stand in front.

Layout is by hand in pixels from the top left, since the text is set in the reader's font, not in the one that
matplotlib would measure.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ET  # it reads what matplotlib just wrote, nothing from outside
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from toolkit.errors import require
from toolkit.pages.plot_style import FONTS, GRID, INK, INKS, MUTED, PAPER
from toolkit.pages.plot_text import clean, shorten

WIDTH = 720.0
SMALL, NORMAL = 11.0, 12.0
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "toolkit", "text.parse_math": False, "font.family": ["DejaVu Sans"],
    "font.size": SMALL, "axes.edgecolor": MUTED.hex, "axes.labelcolor": INK.hex, "text.color": INK.hex,
    "xtick.color": MUTED.hex, "ytick.color": MUTED.hex, "xtick.labelcolor": INK.hex, "ytick.labelcolor": INK.hex,
    "grid.color": GRID.hex, "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True,
    "axes.unicode_minus": True, "axes.spines.top": False, "axes.spines.right": False,
    "axes.facecolor": "none", "axes.linewidth": 0.8,
    "path.simplify": True, "lines.solid_joinstyle": "round",
}  # fmt: skip


@contextmanager
def open_canvas(height: float) -> Iterator[Canvas]:
    """A canvas `WIDTH` by `height` pixels; matplotlib's settings are put back afterwards.

    Raises `MissingExtra` without matplotlib.
    """
    matplotlib = require("matplotlib", extra="report")
    with matplotlib.rc_context(), warnings.catch_warnings():
        # glyphs that matplotlib's font lacks are in the reader's
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield Canvas(height)


class Canvas:
    """A figure with places in pixels from the top left; `render` gives the SVG."""

    def __init__(self, height: float) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.height = float(height)
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
        FigureCanvasSVG(self.figure)
        self._tips: dict[str, str] = {}
        self._texts = 0

    def add_axes(self, left: float, top: float, right: float, bottom: float) -> Any:
        """Axes between these four, each in pixels from the left or from the top."""
        height = self.height
        box = (left / WIDTH, 1 - bottom / height, (right - left) / WIDTH, (bottom - top) / height)
        axes = self.figure.add_axes(box)
        axes.tick_params(length=3, width=0.8, pad=4)
        return axes

    def write(
        self, x: float, y: float, text: str, *, full: str | None = None, size: float = SMALL, colour: str = INK.hex,
        align: str = "left", bold: bool = False,
    ) -> None:  # fmt: skip
        """Text whose middle line is at `y`; `full` is what a shortened text stands for."""
        text, gid = clean(text), f"text-{self._texts}"
        self._texts += 1
        self.figure.text(
            x / WIDTH, 1 - (y + 0.36 * size) / self.height, text, fontsize=size, color=colour, ha=align, va="baseline",
            weight="bold" if bold else "normal", gid=gid,
        )  # fmt: skip
        if full is not None and (full := clean(full)) != text:
            self._tips[gid] = full

    def write_name(self, x: float, y: float, name: str, width: float, **style: Any) -> None:
        """A name shortened to `width` pixels, the whole of it as its tooltip."""
        width = width / 1.13 if style.get("bold") else width
        self.write(x, y, shorten(name, width, style.get("size", SMALL)), full=name, **style)

    def draw_line(self, xs: list[float], ys: list[float], **style: Any) -> None:
        """A line, or one marker, at pixels from the top left."""
        from matplotlib.lines import Line2D

        places = [x / WIDTH for x in xs], [1 - y / self.height for y in ys]
        self.figure.add_artist(Line2D(*places, **style))

    def to_pixels(self, axes: Any, x: float, y: float) -> tuple[float, float]:
        """A place in data coordinates as pixels from the top left; limits must be set before."""
        right, up = axes.transData.transform((x, y))
        return float(right), self.height - float(up)

    def render(self, title: str, description: str) -> str:
        """The SVG text. The same content always gives the same text."""
        stream = io.BytesIO()
        self.figure.savefig(stream, format="svg", metadata={"Date": None})
        root = ET.fromstring(stream.getvalue())
        _strip(root)
        self._add_tips(root)
        prefix = "p" + hashlib.sha256(title.encode() + b"\0" + ET.tostring(root)).hexdigest()[:10] + "-"
        _rename_ids(root, prefix)
        for element in root.iter():
            _restyle(element)
        root.attrib.clear()
        root.attrib.update({
            "xmlns": "http://www.w3.org/2000/svg", "class": "plot", "viewBox": f"0 0 {WIDTH:g} {self.height:g}",
            "width": "100%", "role": "img", "aria-labelledby": f"{prefix}title {prefix}desc",
            "style": f"font-family: {FONTS}; stroke-linejoin: round; stroke-linecap: butt; fill: {INK.css}",
        })  # fmt: skip
        for place, (tag, text) in enumerate((("title", title), ("desc", description))):
            element = ET.Element(tag, id=prefix + tag)
            element.text = clean(text)
            root.insert(place, element)
        return ET.tostring(root, encoding="unicode")

    def _add_tips(self, root: ET.Element) -> None:
        for group in root.iter("g"):
            name = group.get("id", "")
            if name.startswith("text-"):
                if name in self._tips:
                    tip = ET.Element("title")
                    tip.text = self._tips[name]
                    group.insert(0, tip)
                for text in group.iter("text"):  # a halo keeps letters readable where they cross a line
                    text.set("style", f"{text.get('style', '')}; paint-order: stroke; stroke: {PAPER.hex}; "
                                      "stroke-width: 3px")  # fmt: skip


def _strip(root: ET.Element) -> None:
    """Drop namespaces, metadata, the style for everything and the white space between."""
    for parent in list(root.iter()):
        for child in list(parent):
            styled = child.tag == f"{SVG}defs" and child.find(f"{SVG}style") is not None
            if child.tag == f"{SVG}metadata" or styled:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.tail = None
        if element.tag != "text":
            element.text = None
        if f"{XLINK}href" in element.attrib:
            element.set("href", element.attrib.pop(f"{XLINK}href"))


def _rename_ids(root: ET.Element, prefix: str) -> None:
    """Keep the ids that something refers to, with `prefix`; drop the others."""
    used = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "href":
                used.add(value.removeprefix("#"))
                element.set(key, f"#{prefix}{value.removeprefix('#')}")
            elif found := re.fullmatch(r"url\(#(.+)\)", value):
                used.add(found[1])
                element.set(key, f"url(#{prefix}{found[1]})")
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", prefix + str(name))


# matplotlib's colour -> the variable
_COLOURS = {ink.hex: ink.css for ink in INKS}
_FRACTION = re.compile(r"-?\d+\.\d{3,}")


def _restyle(element: ET.Element) -> None:
    """Put variables in place of colours, leave the font to the root, and round what is finer than the eye."""
    for key in ("d", "x", "y", "transform", "width", "height"):
        if key in element.attrib:
            element.set(key, _FRACTION.sub(lambda found: f"{float(found[0]):.2f}", element.attrib[key]))
    style = element.get("style")
    if style is None:
        return
    style = re.sub(r"font-family: [^;]+;?\s*", "", style)
    style = re.sub(r"#[0-9a-f]{6}\b", lambda found: _COLOURS[found[0]], style)
    element.set("style", style.strip("; "))
