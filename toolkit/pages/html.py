"""The report as one HTML file: no network, no script, every figure inside.

The template escapes whatever it is given; only figures, whose text `plots` has escaped, and the style sheet go in as
they are. A content security policy in the page forbids anything to be fetched or run, should that ever fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.errors import require
from toolkit.pages.content import FAILED, PASSED, PLAIN, UNSURE, Table
from toolkit.pages.page import Page
from toolkit.pages.plots import PLOT_CSS
from toolkit.progress import Progress, silent

TEMPLATE = Path(__file__).with_name("report.html")
# a sign and a word beside the colour, for who does not see it
SIGNS = {FAILED: "✗", PASSED: "✓", UNSURE: "?", PLAIN: ""}
FOLDED_ROWS = 16  # a longer table is folded on a screen, and open in print
FOLDED_CELL = 300  # letters; so is one with a longer cell, a wall of settings


def render_html(page: Page, *, progress: Progress = silent) -> str:
    """The text of the file. Raises `MissingExtra` without jinja2 or matplotlib, which the extra [report] brings."""
    require("matplotlib", extra="report")
    markup = require("markupsafe", extra="report").Markup
    parts = [part for section in page.sections for part in section.parts if part.figure is not None]
    figures: dict[int, Any] = {}
    for done, part in enumerate(parts, 1):
        if part.figure is not None:
            figures[id(part)] = markup(part.figure())
        progress("report", done, len(parts), f"{done} figures")
    text: str = _template().render(
        page=page, figures=figures, signs=SIGNS, folded=is_folded, plot_css=markup(PLOT_CSS), identity=id
    )
    return text


def is_folded(table: Table, anchor: str) -> bool:
    """The first table is always in sight; others of many rows or of very long cells are folded."""
    long = len(table.rows) > FOLDED_ROWS or any(len(cell) > FOLDED_CELL for row in table.rows for cell in row)
    return anchor != "summary" and long


@cache
def _template() -> Any:
    jinja2 = require("jinja2", extra="report")
    options: Mapping[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    return jinja2.Environment(undefined=jinja2.StrictUndefined, **options).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
