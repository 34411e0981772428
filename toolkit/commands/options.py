"""Options that several commands share, so that a word means the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

FOLDER = click.Path(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
force_option = click.option("--force", is_flag=True, help="Replace what stands at -o.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
out_option = click.option("-o", "--out", type=FOLDER, required=True, help="Folder to write; must not exist.")
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads the runtime may use."
)
epochs_option = click.option("--epochs", type=click.IntRange(1), help="Epochs, instead of the recipe's.")
recipe_option = click.option(
    "--recipe", type=click.Path(path_type=Path), help="TOML file of the training recipe; see docs/architecture.md."
)
data_help = "A known name (toolkit data), a csv, tsv, jsonl or parquet file, a folder of images, or hub:NAME."


def data_options(command: F) -> F:
    """--data and the words that say which columns are meant."""
    return _data_options(command, required=True)


def optional_data_options(command: F) -> F:
    """The same, for a command that also does something without data; it asks for --data itself."""
    return _data_options(command, required=False)


def _data_options(command: F, *, required: bool) -> F:
    for option in (
        click.option("--slice", "slices", multiple=True, metavar="COLUMN", help="Column to slice results by."),
        click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which."),
        click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which."),
        click.option("--data", "reference", required=required, metavar="DATA", help=data_help),
    ):
        command = option(command)
    return command
