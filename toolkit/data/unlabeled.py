"""Texts without labels: what a teacher answers for a student to learn from, and what a vocabulary is counted on.

A `.txt` file (or one without a suffix) is UTF-8 with one text a line; a table (csv, tsv, jsonl, parquet) has them in
one column. Blank lines and empty cells are no texts and are left out; repeated texts stay, since how often a thing is
said is what a count needs. A row that cannot be read is an error and not left out: there is no report to name it in.

Limit: a file is held in memory as a whole.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from toolkit.data import BadRow
from toolkit.data.columns import EXAMPLE_NAMES
from toolkit.data.headless import SEPARATED
from toolkit.data.tables import READERS, Row, read_table
from toolkit.errors import DataError

LINES = ("", ".txt")
ALLOWED = f"a .txt file with one text a line, or a table {', '.join(READERS)}"


def read_texts(path: Path | str, *, text: str | None = None) -> list[str]:
    """The texts of the file at `path`, as they are and in its order; at least one.

    `text` names the column of a table, or its position where a csv or tsv has no line of names; without it, the one
    column whose name is a usual one for text, or the only column. A file of lines has no columns: there `text`, which
    may be meant for the data beside it, says nothing. Raises `DataError` in one line for a file that cannot be read,
    a row that is no text, a column that is not there or not plain, and a file without any text.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}; give {ALLOWED}")
    if suffix not in (*LINES, *READERS):
        raise DataError(f"{path} cannot be read as texts; give {ALLOWED}")
    texts = [found for found in (_lines(path) if suffix in LINES else _column(path, text)) if found.strip()]
    if not texts:
        raise DataError(f"{path} holds no text; give a file with at least one")
    return texts


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    # not str.splitlines: signs of Unicode that end a line there are part of a text here
    return [line.removesuffix("\n") for line in io.StringIO(content, newline=None)]


def _column(path: Path, text: str | None) -> list[str]:
    positions = text is not None and text.isdigit() and path.suffix.lower() in SEPARATED
    table = read_table(path, positions=positions)
    column = _choose(path, table.columns, text)
    bad = [*table.bad, *_unreadable(table.rows, column)]
    if bad:
        first = min(bad, key=lambda row: row.line)
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DataError(f"{path} line {first.line} cannot be used{more}: expected {first.expected}")
    return [row.values.get(column) or "" for row in table.rows]


def _choose(path: Path, columns: tuple[str, ...], text: str | None) -> str:
    listed = f"{path.name} has the columns: {', '.join(map(repr, columns))}"
    if text is not None:
        if text not in columns:
            raise DataError(f"--text {text!r} is no column; {listed}")
        return text
    usual = [column for column in columns if column.strip().casefold() in EXAMPLE_NAMES["text"]]
    likely = usual or list(columns)
    if len(likely) != 1:
        raise DataError(f"it is not plain which column holds the texts; say it with --text; {listed}")
    return likely[0]


def _unreadable(rows: list[Row], column: str) -> Iterator[BadRow]:
    for row in rows:
        value = row.values.get(column)
        if value is None:
            continue
        if not isinstance(value, str):
            yield BadRow(row.file, row.line, f"a text in column {column!r}, found {type(value).__name__}")
        elif any("\ud800" <= sign <= "\udfff" for sign in value):  # how a table marks bytes that are no UTF-8
            yield BadRow(row.file, row.line, f"UTF-8 in column {column!r}")
