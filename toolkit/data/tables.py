"""Readers of csv, tsv, jsonl and parquet: every row with the place it stands, no row lost in silence.

csv is RFC 4180 with a header: commas, quoted fields may hold commas, quotes and line breaks. tsv is the
IANA type: no quoting, a tab always separates. Both and jsonl are UTF-8 with or without a byte order
mark; a row with other bytes is bad where the column is used. Blank lines are no rows. A table without
a header is read by naming the columns by their position: `--text 0 --label 1`.

Limit: a file is held in memory as a whole.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.data import BadRow
from toolkit.errors import DataError, require
from toolkit.lineage import digest_of_bytes

LARGEST_FIELD = 1 << 27


@dataclass(frozen=True)
class Row:
    """One row: the file and line (for parquet the row number, from 1) where it starts, and its values."""

    file: str
    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows by column. `typed` is false where every value is a string because the format knows no other;
    `content` is the digest of the bytes read."""

    columns: tuple[str, ...]
    rows: list[Row]
    bad: list[BadRow]
    typed: bool
    content: str


def read_table(path: Path, *, positions: bool = False) -> Table:
    """Read a table by its suffix; `positions` says that it has no header and columns are "0", "1", ...

    Raises `DataError` when the suffix is unknown or the file as a whole cannot be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no table that can be read; allowed: {', '.join(READERS)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16; save it as UTF-8")
    if positions and path.suffix.lower() not in (".csv", ".tsv"):
        raise DataError(f"{path} names its columns; use the names instead of positions")
    return reader(path.name, content, positions)


def read_csv(name: str, content: bytes, positions: bool = False) -> Table:
    """Read the bytes of a csv file; `name` stands in bad rows and errors."""
    return _separated(name, content, positions, _csv_records(name, content))


def read_tsv(name: str, content: bytes, positions: bool = False) -> Table:
    """Read the bytes of a tsv file; `name` stands in bad rows and errors."""
    lines = (line.rstrip("\r\n") for line in _lines(content))
    records = ((number, line.split("\t") if line else []) for number, line in enumerate(lines, start=1))
    return _separated(name, content, positions, records)


def read_jsonl(name: str, content: bytes, positions: bool = False) -> Table:
    """Read the bytes of a file with one JSON object a line; the columns are the keys as they first come."""
    rows, bad, columns = [], [], dict[str, None]()
    for number, line in enumerate(_lines(content), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            rows.append(Row(name, number, value))
            columns.update(dict.fromkeys(value))
        else:
            bad.append(BadRow(name, number, "a JSON object"))
    return Table(tuple(columns), rows, bad, True, digest_of_bytes(content))


def read_parquet(name: str, content: bytes, positions: bool = False) -> Table:
    """Read the bytes of a parquet file."""
    parquet = require("pyarrow.parquet", extra="train")
    try:
        table = parquet.read_table(io.BytesIO(content))
        columns = {column: table.column(column).to_pylist() for column in table.column_names}
    except Exception as error:  # pyarrow raises many kinds on hostile bytes
        raise DataError(f"{name} is no parquet file that can be read: {str(error).splitlines()[0]}") from None
    return table_of_columns(name, columns, digest_of_bytes(content))


def table_of_columns(name: str, columns: Mapping[str, list[Any]], content: str) -> Table:
    """A table of equally long columns of plain Python values."""
    values = zip(*columns.values(), strict=True)
    rows = [Row(name, number, dict(zip(columns, row, strict=True))) for number, row in enumerate(values, start=1)]
    return Table(tuple(columns), rows, [], True, content)


READERS = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}


def _lines(content: bytes) -> Iterator[str]:
    """Lines as text; bytes that are no UTF-8 become lone surrogates, which no file can hold itself."""
    body = content.removeprefix(codecs.BOM_UTF8)
    yield from io.TextIOWrapper(io.BytesIO(body), "utf-8", errors="surrogateescape", newline="")


def _csv_records(name: str, content: bytes) -> Iterator[tuple[int, list[str] | str]]:
    """Line where a record starts, and its fields or what was expected there."""
    reader = csv.reader(_lines(content), strict=True)
    limit = csv.field_size_limit()
    while True:
        start = reader.line_num + 1
        csv.field_size_limit(LARGEST_FIELD)  # the default of 128 KiB is less than a long document
        try:
            record: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                record = f"a closing quote: lines {start} to {reader.line_num} were read as one field"
            else:
                record = f"fields separated by commas, quotes doubled ({error})"
        finally:
            csv.field_size_limit(limit)
        yield start, record


def _separated(name: str, content: bytes, positions: bool, records: Iterator[tuple[int, list[str] | str]]) -> Table:
    columns: tuple[str, ...] | None = None
    rows, bad = [], []
    for line, record in records:
        if not record:
            continue
        if columns is None:
            columns = _header(name, record, positions)
            if not positions:
                continue
        if isinstance(record, str):
            bad.append(BadRow(name, line, record))
        elif len(record) != len(columns):
            bad.append(BadRow(name, line, f"{len(columns)} columns, found {len(record)}"))
        else:
            rows.append(Row(name, line, dict(zip(columns, record, strict=True))))
    if columns is None:
        raise DataError(f"{name} is empty; expected a line of column names and rows below it")
    return Table(columns, rows, bad, False, digest_of_bytes(content))


def _header(name: str, record: list[str] | str, positions: bool) -> tuple[str, ...]:
    if isinstance(record, str):
        raise DataError(f"the first line of {name} cannot be read; expected {record}")
    if positions:
        return tuple(str(position) for position in range(len(record)))
    columns = tuple(column.strip() for column in record)
    if len(set(columns)) != len(columns):
        raise DataError(f"{name} has two columns of one name in its first line: {', '.join(map(repr, columns))}")
    return columns
