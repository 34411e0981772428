"""`toolkit data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import json_option, seed_option

if TYPE_CHECKING:
    from toolkit.data.named import KnownSet


@click.command()
@click.argument("reference", required=False, metavar="[NAME|PATH|hub:NAME]")
@click.option("--fetch", is_flag=True, help="Fetch the archives of all known sets into the cache.")
@click.option("--task", type=click.Choice(["text", "image", "recommend"]), help="What to read a path as.")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@seed_option
@json_option
def command(
    *,
    reference: str | None,
    fetch: bool,
    task: str | None,
    text: str | None,
    label: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """List the data sets known, or read one and say what is in it: rows, classes, duplicates, bad rows.

    \b
    Example:
      toolkit data
      toolkit data trec
      toolkit data reviews.csv --text review --label stars
    """
    if reference is None:
        _list(fetch=fetch, as_json=as_json)
        return
    from toolkit.data.loading import load_data

    data = load_data(reference, task=task, seed=seed, text=text, label=label)
    terminal.say(f"{data.name}: {data.task}, {len(data.labels)} classes: {', '.join(data.labels[:20])}")
    counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in data.counts.items())
    terminal.say(counts)
    for name, split in data.splits.items():
        terminal.say(f"  {name:<10} {len(split):>7,} rows")
    for row in data.bad_rows[:20]:
        terminal.say(f"  bad row: {row.file}:{row.line}: expected {row.expected}")
    if len(data.bad_rows) > 20:
        terminal.say(f"  and {len(data.bad_rows) - 20} more bad rows (all of them with --json)")
    document: dict[str, Any] = {
        "name": data.name,
        "task": data.task,
        "labels": list(data.labels),
        "rows": {name: len(split) for name, split in data.splits.items()},
        "counts": dict(data.counts),
        "split": data.record().to_json(),
        "bad_rows": [{"file": row.file, "line": row.line, "expected": row.expected} for row in data.bad_rows],
    }
    terminal.emit(document, as_json=as_json)


def _list(*, fetch: bool, as_json: bool) -> None:
    from toolkit.data.archives import cache_folder, fetch_all
    from toolkit.data.named import KNOWN

    if fetch:
        with terminal.showing_progress() as progress:
            fetch_all(progress)
    rows, document = [], {}
    for name, known in KNOWN.items():
        where = _place(known)
        rows.append((name, known.task, f"{known.rows:,}", str(known.classes), where, known.description, known.licence))
        document[name] = {"task": known.task, "rows": known.rows, "classes": known.classes, "licence": known.licence,
                          "where": where, "description": known.description}  # fmt: skip
    titles = ("name", "task", "rows", "classes", "where", "what", "licence")
    terminal.show_table(titles, rows, right=("rows", "classes"))
    terminal.say(f"the cache is {cache_folder()}; what is not there is fetched when it is first asked for")
    terminal.emit(document, as_json=as_json)


def _place(known: KnownSet) -> str:
    """Where a set is: in the cache, to be fetched, installed with something else, or to be installed."""
    from toolkit.data.archives import archive_path

    if known.archive is not None:
        return "cached" if archive_path(known.archive).is_file() else "to fetch"
    return "installed" if known.folder is None or known.folder.is_dir() else "to install"
