"""Tables of text and label without a line of column names: recognized where it is plain, else left to the user.

The rule, asked of each file on its own: csv or tsv with two columns; neither cell of the first line is a usual
column name; and in exactly one column the first line's cell comes again below, the column holding at most
`CLASSES` different values, each twice or more on average. That one is the label: a column's name does not stand among
its values, a class does. Everything else is read as having names, and `--text 0 --label 1` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from toolkit.data.columns import EXAMPLE_NAMES, LABEL_NAMES
from toolkit.data.tables import READERS, read_table

SEPARATED = (".csv", ".tsv")
CLASSES = 100
_USUAL = {"id", "split", *LABEL_NAMES, *(name for names in EXAMPLE_NAMES.values() for name in names)}


def find_headless(paths: Iterable[Path]) -> tuple[str, str] | None:
    """Positions of text and label, ("0", "1") or ("1", "0"), where no file has names and all agree; else None."""
    found = {_label_position(path) for path in paths}
    label = found.pop() if len(found) == 1 else None
    return None if label is None else (str(1 - label), str(label))


def _label_position(path: Path) -> int | None:
    first = _first_row(path)
    if len(first) != 2 or any(cell.strip().casefold() in _USUAL for cell in first):
        return None
    rows = [tuple(row.values.values()) for row in read_table(path, positions=True).rows]
    labels = []
    for position, cell in enumerate(first):
        below = [row[position] for row in rows[1:]]
        different = len({cell, *below})
        if cell in below and different <= CLASSES and 2 * different <= len(rows):
            labels.append(position)
    return labels[0] if len(labels) == 1 else None


def _first_row(path: Path) -> tuple[str, ...]:
    """The cells of the first line, so that a wide table is not read twice; none where it is no row by itself."""
    if path.suffix.lower() not in SEPARATED:
        return ()
    with path.open("rb") as lines:
        line = next((line for line in lines if line.strip()), b"")
    found = READERS[path.suffix.lower()](path.name, line, True).rows if line else []
    return tuple(found[0].values.values()) if found else ()
