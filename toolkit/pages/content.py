"""What a report is made of, whatever it is printed as: sections of sentences, figures and tables of text.

HTML and Markdown are two printers of the same values, so a number can never differ between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.pages.plot_axes import number

DASH = "–"
LONGEST_NAME = 60  # in a sentence
FAILED, PASSED, UNSURE, PLAIN = "failed", "passed", "unsure", ""


@dataclass(frozen=True)
class Column:
    """A heading with its unit; `right` for numbers, `code` for labels and names that are data, not words."""

    heading: str
    right: bool = True
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under their headings; `tones` (FAILED, PASSED, UNSURE or PLAIN a row) mark the column `says`."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[str, ...] = ()
    says: str = ""

    def tone(self, row: int, column: int) -> str:
        """The tone of a cell; PLAIN in every column but the one that says."""
        marked = self.columns[column].heading == self.says
        return self.tones[row] if marked and row < len(self.tones) else PLAIN


@dataclass(frozen=True)
class Part:
    """Words, a figure that is drawn when a printer asks for it, tables with the same numbers, and commands to type."""

    title: str = ""
    words: tuple[str, ...] = ()
    figure: Callable[[], str] | None = None
    tables: tuple[Table, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """What was not measured, in a sentence, and the command that would measure it."""

    words: str
    command: str = ""


@dataclass(frozen=True)
class Section:
    """One heading of the report; `missing` is said where it, or a part of it, could not be filled."""

    anchor: str
    title: str
    parts: tuple[Part, ...] = ()
    missing: tuple[Missing, ...] = ()


def columns(*headings: str, words: Sequence[str] = (), code: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of numbers, but for those named in `words` (text, to the left) and `code` (names that are data)."""
    return tuple(Column(heading, heading not in (*words, *code), heading in code) for heading in headings)


def table_of(
    caption: str, heads: Sequence[Column], rows: Sequence[Sequence[str]], tones: Sequence[str] = (), *, says: str = ""
) -> Table:
    """A table without the columns in which nothing was measured. `says` is the column that `tones` mark."""
    kept = [i for i in range(len(heads)) if any(row[i] not in ("", DASH) for row in rows)]
    cells = tuple(tuple(row[i] for i in kept) for row in rows)
    return Table(caption, tuple(heads[i] for i in kept), cells, tuple(tones), says)


def figure(value: Any, digits: int = 3) -> str:
    """A number with about three significant digits; a dash for what was not measured."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return DASH
    return number(value, digits)


def percent(share: Any, decimals: int = 1) -> str:
    """A share as per cent; it says 100 % or 0 % only where that is exact."""
    if not isinstance(share, int | float) or not math.isfinite(share):
        return DASH
    while 0 < share < 1 and decimals < 6 and float(f"{100 * share:.{decimals}f}") in (0.0, 100.0):
        decimals += 1
    return f"{100 * share:.{decimals}f} %"


def percent_interval(estimate: Mapping[str, Any] | None) -> str:
    """`93.4 % (91.0–95.2)` of a value with its ends."""
    if not estimate:
        return DASH
    return f"{percent(estimate['value'])} ({100 * estimate['low']:.1f}–{100 * estimate['high']:.1f})"


def points(estimate: Mapping[str, Any] | None) -> str:
    """A difference of shares in percentage points: `−0.40 (−1.21 to +0.38)`."""
    if not estimate:
        return DASH
    value, low, high = (signed(100 * estimate[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def signed(value: float, decimals: int = 2) -> str:
    """A number with its sign, a true minus, and no sign on what rounds to zero."""
    text = f"{value:+,.{decimals}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def join_names(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; of more than `most` the first ones and how many are left. Long names are shortened."""
    shown = [short(name) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def short(name: str) -> str:
    """A name for a sentence: of a long one its beginning and its end; tables have the whole."""
    name = " ".join(name.split())
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"
