"""A folder with one table a split: train.tsv, dev.tsv (or validation, valid, val) and test.tsv.

The files' names are taken at their word as the official split; a row that stands in two of them is folded as
everywhere (`toolkit.data.splitting`: the one that judges stays). All files have the same columns and one format, and
none a column `split` of its own. A folder with one such table is that table, and is split by the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from toolkit.data.rows import split_name
from toolkit.data.tables import READERS, Table, read_table
from toolkit.errors import DataError
from toolkit.lineage import digest_of


def split_tables(folder: Path) -> dict[str, Path]:
    """The tables in `folder` by the split that their names mean; none where there is no such table.

    Raises `DataError` for two tables of one split.
    """
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS and split_name(path.stem)]
    parts = {split_name(path.stem) or "": path for path in found}
    if len(parts) != len(found):
        raise DataError(f"{folder} has more than one table for a split: {', '.join(path.name for path in found)}")
    return parts


def read_split_files(folder: Path, parts: Mapping[str, Path], *, positions: bool = False) -> Table:
    """One table of all `parts` of `folder`, with the column `split` filled from their names.

    `positions` as in `read_table`. Raises `DataError` for tables that do not go together.
    """
    tables = {split: read_table(path, positions=positions) for split, path in parts.items()}
    first = next(iter(tables.values()))
    for split, table in tables.items():
        if set(table.columns) != set(first.columns) or table.typed != first.typed:
            raise DataError(
                f"{parts[split]} has other columns than {next(iter(parts.values())).name}; where there is no line of "
                "column names, say which columns are meant: --text 0 --label 1"
            )
    if "split" in first.columns:
        raise DataError(f"{folder} has tables named after splits and a column named split; expected one of both")
    rows = [
        replace(row, values={**row.values, "split": split}) if len(tables) > 1 else row
        for split, table in tables.items()
        for row in table.rows
    ]
    columns = (*first.columns, "split") if len(tables) > 1 else first.columns
    content = digest_of(sorted((split, table.content) for split, table in tables.items()))
    return Table(columns, rows, [bad for table in tables.values() for bad in table.bad], first.typed, content)
