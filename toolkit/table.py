"""Reports as a table: on a terminal, in a log, in a README; and a card of before and after.

One row a report, in the order given: none is hidden, sorted away or rounded to look equal. A dash is
what was not measured. Colour is used on a terminal only, and says nothing that words do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.report import Report, Row

DASH, MEAN = "–", "mean ms"


@dataclass(frozen=True)
class Column:
    """A heading with its unit and the text of each row."""

    heading: str
    cells: tuple[str, ...]
    right: bool = True


def columns_of(reports: Sequence[Report]) -> list[Column]:
    """The table as text, column by column; AUC only where a report has one, the mean only beside a cascade."""
    rows = [report.row() for report in reports]
    columns = [
        Column("stage", tuple(row.stage for row in rows), right=False),
        Column("runtime", tuple(row.runtime or DASH for row in rows), right=False),
        Column("accuracy % (95 %)", tuple(_accuracy(row) for row in rows)),
        Column("AUC", tuple(_number(row.auc, 4) for row in rows)),
        Column("flips", tuple(_flips(row) for row in rows)),
        Column("size MB", _aligned(rows, lambda row: row.size_bytes / 1e6)),
        Column("p50 ms", _aligned(rows, lambda row: row.p50_ms)),
        Column(MEAN, _aligned(rows, lambda row: row.mean_ms)),
        Column("p99 ms", _aligned(rows, lambda row: row.p99_ms)),
        Column("verdict", tuple(_verdict(row) for row in rows), right=False),
    ]
    shown = {
        "AUC": any(row.auc is not None for row in rows),
        MEAN: any(report.is_cascade for report in reports),
    }
    return [column for column in columns if shown.get(column.heading, True)]


def build_table(reports: Sequence[Report], *, title: str | None = None) -> Table:
    """The table for a terminal; failed rows are red, passed verdicts green."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    columns = columns_of(reports)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for position, report in enumerate(reports):
        row = report.row()
        style = "red" if row.failed else "green" if row.verdict == "pass" else ""
        cells = [Text(column.cells[position]) for column in columns]
        cells[0].stylize("red" if row.failed else "")
        cells[-1].stylize(style)
        table.add_row(*cells)
    return table


def plain_table(reports: Sequence[Report]) -> str:
    """The table as lines of text without colour, whatever their width."""
    lines: list[list[str]] = []
    for column in columns_of(reports):
        texts = [column.heading, *column.cells]
        width = max(cell_len(text) for text in texts)  # a Chinese character is two cells wide
        padded = [" " * (width - cell_len(text)) for text in texts]
        lines.append([p + t if column.right else t + p for p, t in zip(padded, texts, strict=True)])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*lines, strict=True))


def markdown_table(reports: Sequence[Report]) -> str:
    """The table as GitHub renders it; ends without a line break."""
    columns = columns_of(reports)
    lines = ["| " + " | ".join(column.heading for column in columns) + " |"]
    lines.append("|" + "|".join("---:" if column.right else "---" for column in columns) + "|")
    rows = zip(*(column.cells for column in columns), strict=True)
    lines.extend("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows)
    return "\n".join(lines)


def print_reports(reports: Sequence[Report], console: Console) -> None:
    """The table on `console`: drawn on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        console.print(build_table(reports))
    else:
        console.print(plain_table(reports), markup=False, highlight=False, soft_wrap=True)


def card(before: Report | None, after: Report, *, saved: Path | str | None = None) -> str:
    """Before and after in a few aligned lines: accuracy, flips, size, p50, p99, verdict, where it was saved.

    A cascade has a line for the mean as well.

    `before` is None for a model that has no predecessor. The last column is the factor by which a
    size or a time went down (below 1 it went up): whether a time is more than noise, `bench` says.
    """
    new = after.row()
    old = before.row() if before else None
    lines = [
        ("", old.stage if old else "", new.stage, ""),
        ("accuracy", _percent(old), _percent(new), _gap(after)),
        ("flips", "", _flips(new), ""),
        _quantity("size", "MB", old.size_bytes / 1e6 if old else None, new.size_bytes / 1e6),
        _quantity("p50", "ms", old.p50_ms if old else None, new.p50_ms),
        *([_quantity("mean", "ms", old.mean_ms if old else None, new.mean_ms)] if after.is_cascade else []),
        _quantity("p99", "ms", old.p99_ms if old else None, new.p99_ms),
    ]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(4)]
    text = []
    for name, *cells in lines:
        padded = [" " * (widths[i + 1] - cell_len(cell)) + cell for i, cell in enumerate(cells)]
        text.append(
            "  ".join([name.ljust(widths[0]), *(p for p, w in zip(padded, widths[1:], strict=True) if w)]).rstrip()
        )
    if new.verdict:
        text.append(f"verdict   {_verdict(new)}")
    if saved is not None:
        text.append(f"saved in  {saved}")
    return "\n".join(text)


def _accuracy(row: Row) -> str:
    if row.accuracy is None or row.accuracy_low is None or row.accuracy_high is None:
        return DASH
    return f"{100 * row.accuracy:.1f} ({100 * row.accuracy_low:.1f}–{100 * row.accuracy_high:.1f})"


def _flips(row: Row) -> str:
    if row.flips is None or row.flips_share is None:
        return DASH
    return f"{row.flips} ({100 * row.flips_share:.1f} %)"


def _verdict(row: Row) -> str:
    if row.verdict is None:
        return DASH
    return f"{row.verdict} (failed)" if row.failed and row.verdict != "worse" else row.verdict


def _number(value: float | None, decimals: int) -> str:
    return DASH if value is None else f"{value:,.{decimals}f}"


def _aligned(rows: Sequence[Row], value: Callable[[Row], float | None]) -> tuple[str, ...]:
    """Numbers of one column with the same decimals: enough to show two digits of the smallest."""
    values = [value(row) for row in rows]
    smallest = min((abs(v) for v in values if v), default=1.0)
    decimals = 1 if smallest >= 1 else 2 if smallest >= 0.1 else 3
    return tuple(_number(v, decimals) for v in values)


def _unit(value: float | None, unit: str) -> str:
    if value is None:
        return DASH
    return f"{value:,.{1 if value >= 100 else 2 if value >= 0.1 else 4}f} {unit}"


def _percent(row: Row | None) -> str:
    if row is None or row.accuracy is None or row.accuracy_low is None or row.accuracy_high is None:
        return DASH
    # a score interval is not symmetric; the wider side is the honest one to print alone
    half = max(row.accuracy - row.accuracy_low, row.accuracy_high - row.accuracy)
    return f"{100 * row.accuracy:.1f} % ± {100 * half:.1f}"


def _gap(report: Report) -> str:
    gap = (report.quality or {}).get("difference", {}).get("accuracy")
    if gap is None:
        return ""
    return f"{100 * gap['value']:+.1f} pt ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"


def _quantity(name: str, unit: str, old: float | None, new: float | None) -> tuple[str, str, str, str]:
    """A line of the card: before, after, and the factor between them where both are known."""
    return name, _unit(old, unit), _unit(new, unit), f"{old / new:.1f}x" if old and new else ""
