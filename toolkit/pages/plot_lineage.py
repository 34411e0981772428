"""The lineage as a line of steps. HTML, not SVG: words of any length wrap, and a reader can copy them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from toolkit.errors import DataError
from toolkit.pages.plot_data import LineageStep
from toolkit.pages.plot_text import clean


def draw_lineage(steps: Sequence[LineageStep], *, title: str) -> str:
    """See `plots.lineage`."""
    if not steps:
        raise DataError("there is no step to draw; an artifact's lineage has at least the one that trained it")
    items = "".join(f"<li>{''.join(_parts(step))}</li>" for step in steps)
    return f'<ol class="plot-lineage" aria-label="{escape(clean(title))}">{items}</ol>'


def _parts(step: LineageStep) -> list[str]:
    result = [f'<span class="result">{escape(clean(step.result))}</span>'] if step.result else []
    details = [f'<span class="detail">{escape(clean(detail))}</span>' for detail in step.details]
    return [f"<b>{escape(clean(step.name))}</b>", *result, *details]
