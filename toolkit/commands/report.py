"""`toolkit report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import terminal
from toolkit.commands.options import FOLDER, data_help, force_option, json_option
from toolkit.errors import DataError, InputError

if TYPE_CHECKING:
    from toolkit.pages.gather import Gathered, Subject
    from toolkit.pages.page import Page

SHOWN_SIGNS = 200  # of a changed row in the page


@click.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True, metavar="DIR...")
@click.option("-o", "--out", type=FOLDER, metavar="FILE", help="HTML page to write.")
@click.option("--markdown", type=FOLDER, metavar="FILE", help="Write it as Markdown too, for a pull request.")
@click.option("--card", "cards", is_flag=True, help="Write the model card, evidence/card.md, of each DIR.")
@click.option("--bench", type=FOLDER, metavar="FILE", help="Take times from this file, not from each DIR's own.")
@click.option("--data", "reference", metavar="DATA", help=f"Show the changed rows themselves, from: {data_help}")
@click.option("--text", metavar="COLUMN", help="Column of the text, where it is not plain which.")
@click.option("--label", metavar="COLUMN", help="Column of the label, where it is not plain which.")
@click.option("--across-machines", "across", is_flag=True, help="Show numbers of different machines, marked.")
@force_option
@json_option
def command(
    *, folders: tuple[Path, ...], out: Path | None, markdown: Path | None, cards: bool, bench: Path | None,
    reference: str | None, text: str | None, label: str | None, across: bool, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """One page on what verify and bench measured of each DIR: the verdict, plots, tables, what changed.

    A single file that needs no network. What was not measured is said to be so, with the command that
    would measure it. Raw rows stand in it only with --data. A failed gate is shown and is no failure
    of this command.

    \b
    Example:
      toolkit report runs/trec-onnx runs/trec-int8 -o report.html
      toolkit report runs/trec-int8 --markdown comment.md --card
      toolkit report runs/* --bench results.json --data trec -o report.html
    """
    from toolkit.pages.gather import gather
    from toolkit.pages.page import compose
    from toolkit.staging import write_atomically

    if out is None and markdown is None and not cards:
        raise InputError("there is nothing to write; give -o FILE, --markdown FILE or --card")
    _check_targets(out, markdown, force=force)
    gathered = gather(folders, bench=bench, across=across)
    if cards:
        _check_cards(gathered, force=force)
    if reference is not None:
        gathered = _with_examples(gathered, reference, text, label)
    page = compose(gathered, _command_line(folders, out, markdown, bench, reference, across))
    written: dict[str, Any] = {}
    if out is not None:
        from toolkit.pages.html import render_html

        with terminal.showing_progress() as progress:
            content = render_html(page, progress=progress).encode("utf-8", "replace")
        write_atomically(out, content)
        written["html"] = str(out)
    if markdown is not None:
        from toolkit.pages.markdown import render_markdown

        write_atomically(markdown, render_markdown(page).encode("utf-8", "replace"))
        written["markdown"] = str(markdown)
    if cards:
        written["cards"] = [str(_write_card(subject)) for subject in gathered.subjects]
    missing = {section.anchor: [m.words for m in section.missing] for section in page.sections if section.missing}
    _say(page, missing, written)
    document = {"verdict": page.headline.to_json(), "missing": missing, "written": written}
    terminal.emit(document, as_json=as_json)


def _check_targets(out: Path | None, markdown: Path | None, *, force: bool) -> None:
    """Refuse before the work what could not be written after it."""
    targets = [target for target in (out, markdown) if target is not None]
    if len(targets) == 2 and targets[0].absolute() == targets[1].absolute():
        raise InputError(f"{out} cannot be both the page and the Markdown; give two names")
    for target in targets:
        if target.is_dir():
            raise InputError(f"{target} is a folder; give the name of a file")
        if target.exists() and not force:
            raise InputError(f"{target} exists already; choose another name, or add --force to replace it")
        if not target.absolute().parent.is_dir():
            raise InputError(f"{target.parent} is no folder; make it first")


def _check_cards(gathered: Gathered, *, force: bool) -> None:
    """A card holds measured numbers only, so there must be some; a card that stands there may be somebody's own."""
    for subject in gathered.subjects:
        if subject.report is None:
            raise InputError(
                f"{subject.folder} has no evidence/report.json to make a card of; run toolkit verify or bench"
            )
        path = _card_path(subject)
        if path.exists() and not force:
            raise InputError(f"{path} exists already; add --force to replace it")


def _card_path(subject: Subject) -> Path:
    from toolkit.artifact import EVIDENCE

    return subject.folder / EVIDENCE / "card.md"


def _write_card(subject: Subject) -> Path:
    from toolkit.card import model_card
    from toolkit.staging import write_atomically

    assert subject.report is not None  # _check_cards has looked
    bench = subject.entry if subject.counts else None
    path = _card_path(subject)
    write_atomically(path, model_card(subject.artifact, subject.report, bench=bench).encode())
    return path


def _with_examples(gathered: Gathered, reference: str, text: str | None, label: str | None) -> Gathered:
    """The changed rows in one line each; the data must be the rows that verify judged."""
    from dataclasses import replace

    return replace(
        gathered,
        subjects=tuple(
            replace(subject, examples=_examples(subject, reference, text, label)) for subject in gathered.subjects
        ),
    )


def _examples(subject: Subject, reference: str, text: str | None, label: str | None) -> Mapping[int, str]:
    from toolkit.commands.opening import data_of
    from toolkit.data import digest_of_split
    from toolkit.judge.exemplars import shorten

    flips = subject.flips
    if flips is None or not flips.rows:
        return {}
    split = data_of(subject.artifact, reference, text=text, label=label).split(flips.split)
    if len(split) != flips.total or digest_of_split(split) != flips.split_digest:
        raise DataError(
            f"the {flips.split} split of {reference} is not the {flips.total:,} rows that {subject.folder} was judged "
            "on; give the data that verify was given"
        )
    return {flip.row: shorten(split.examples[flip.row], SHOWN_SIGNS) for flip in flips.rows}


def _command_line(
    folders: tuple[Path, ...], out: Path | None, markdown: Path | None, bench: Path | None, reference: str | None,
    across: bool,
) -> list[str]:  # fmt: skip
    """How this report was asked for, for who wants it again."""
    words = ["toolkit", "report", *map(str, folders)]
    for name, value in (("-o", out), ("--markdown", markdown), ("--bench", bench), ("--data", reference)):
        words += [name, str(value)] if value is not None else []
    return [*words, *(["--across-machines"] if across else [])]


def _say(page: Page, missing: Mapping[str, list[str]], written: Mapping[str, Any]) -> None:
    """The table, the verdict, what is missing, and where it all is."""
    (summary,) = page.sections[0].parts[0].tables
    heads = [column.heading for column in summary.columns]
    terminal.show_table(heads, summary.rows, right={column.heading for column in summary.columns if column.right})
    terminal.say(f"verdict   {page.headline.words}")
    for words in page.headline.more:
        terminal.say(f"warning   {words}")
    if missing:
        terminal.say(f"missing   {', '.join(missing)}: the report says which command measures each")
    for path in (written.get("html"), written.get("markdown"), *written.get("cards", [])):
        if path:
            terminal.say(f"saved in  {path}")
