"""A path as a data set: a table, a folder of tables named after splits, pictures, or idx files.

reviews.csv  .tsv  .jsonl  .parquet      see `toolkit.data.tables`; columns in `toolkit.data.columns`
folder/train.tsv, dev.tsv, test.tsv      one table a split, all of one suffix
folder/CLASS/*.png                       see `toolkit.data.folders`, with the idx folders
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from toolkit.data.columns import choose_columns
from toolkit.data.conversion import rows_of_table
from toolkit.data.folders import is_idx_folder, read_idx, read_pictures
from toolkit.data.rows import Rows, split_name
from toolkit.data.tables import READERS, Table, read_table
from toolkit.errors import DataError
from toolkit.lineage import digest_of

ALLOWED = (
    f"a file {', '.join(READERS)}, a folder of such files named train, validation and test, "
    "a folder with one folder of pictures a class, or a folder of idx files"
)


def read_path(
    path: Path,
    *,
    task: str | None = None,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
) -> Rows:
    """The rows at `path`; a table is for the task text unless another is given, a folder for image.

    Raises `DataError` when nothing there can be read as asked.
    """
    parts = _split_tables(path) if path.is_dir() else {}
    if path.is_file() or parts:
        positions = text is not None and label is not None and text.isdigit() and label.isdigit()
        table = _joined(path, parts, positions=positions) if parts else read_table(path, positions=positions)
        kind = task or "text"
        columns = choose_columns(path.name, table.columns, task=kind, text=text, label=label, slices=slices)
        return rows_of_table(table, columns, name=path.name, task=kind)
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder; allowed: {ALLOWED}")
    if task not in (None, "image"):
        raise DataError(f"{path} is a folder of pictures, which the task {task} cannot use; the task is image")
    if text or label or slices:
        raise DataError(f"{path} is a folder of pictures and has no columns; leave out --text, --label and --slices")
    return read_idx(path) if is_idx_folder(path) else read_pictures(path)


def _split_tables(folder: Path) -> dict[str, Path]:
    """Tables of the folder by the split that their names mean."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS and split_name(path.stem)]
    parts = {split_name(path.stem) or "": path for path in found}
    if len(parts) != len(found):
        raise DataError(f"{folder} has more than one table for a split: {', '.join(path.name for path in found)}")
    return parts


def _joined(folder: Path, parts: dict[str, Path], *, positions: bool) -> Table:
    """One table of all, with the column `split` filled from the file names; a lone table is not split."""
    tables = {split: read_table(path, positions=positions) for split, path in parts.items()}
    first = next(iter(tables.values()))
    for split, table in tables.items():
        if set(table.columns) != set(first.columns) or table.typed != first.typed:
            raise DataError(f"{parts[split]} has other columns than {next(iter(parts.values())).name}")
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
