"""A path as a data set: a table, a folder of tables named after splits, pictures, or idx files.

reviews.csv  .tsv  .jsonl  .parquet      see `toolkit.data.tables`; columns in `toolkit.data.columns`
folder/train.tsv, dev.tsv, test.tsv      see `toolkit.data.split_files`
folder/CLASS/*.png                       see `toolkit.data.folders`, with the idx folders
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from toolkit.data.columns import choose_columns
from toolkit.data.conversion import rows_of_table
from toolkit.data.folders import is_idx_folder, read_idx, read_pictures
from toolkit.data.headless import find_headless
from toolkit.data.rows import Rows
from toolkit.data.split_files import read_split_files, split_tables
from toolkit.data.tables import READERS, read_table
from toolkit.errors import DataError

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
    parts = split_tables(path) if path.is_dir() else {}
    if path.is_file() or parts:
        kind = task or "text"
        read = partial(read_split_files, path, parts) if parts else partial(read_table, path)
        by_position = text is not None and label is not None and text.isdigit() and label.isdigit()
        if kind == "text" and text is None and label is None and not slices:
            found = find_headless(parts.values() if parts else [path])
            if found is not None:
                (text, label), by_position = found, True
        table = read(positions=by_position)
        columns = choose_columns(path.name, table.columns, task=kind, text=text, label=label, slices=slices)
        return rows_of_table(table, columns, name=path.name, task=kind)
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder; allowed: {ALLOWED}")
    if task not in (None, "image"):
        raise DataError(f"{path} is a folder of pictures, which the task {task} cannot use; the task is image")
    if text or label or slices:
        raise DataError(f"{path} is a folder of pictures and has no columns; leave out --text, --label and --slice")
    return read_idx(path) if is_idx_folder(path) else read_pictures(path)
