"""The report as Markdown for a pull request: the verdict, the tables, the rest folded.

Figures are left to the HTML page, since a comment can hold none. Names, labels and rows are somebody's data:
they stand in code spans, so that `@length` calls nobody and `<b>` is no markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from toolkit.pages.content import FAILED, PASSED, PLAIN, UNSURE, Column, Missing, Section, Table
from toolkit.pages.page import Page

SIGNS = {FAILED: "❌ ", PASSED: "✅ ", UNSURE: "❔ ", PLAIN: ""}
OPEN = ("summary", "ladder", "flips")
LONGEST = 60_000  # GitHub refuses a comment of more than 65,536 signs
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~@])")


def render_markdown(page: Page) -> str:
    """The text; sections that would make it longer than a comment may be are named and left out."""
    head = [f"## {escape(page.title)}", f"{SIGNS[page.headline.tone]}**{escape(page.headline.words)}**"]
    head += [f"> {escape(words)}" for words in page.headline.more]
    foot = f"Made {escape(page.made)}."
    blocks, left = list(head), []
    room = LONGEST - sum(len(block) + 2 for block in head) - len(foot)
    for section in page.sections:
        text = _section(section)
        if len(text) + 2 > room:
            left.append(section.title)
            continue
        room -= len(text) + 2
        blocks.append(text)
    if left:
        blocks.append(f"Too long for a comment, and in the HTML page: {escape(', '.join(left))}.")
    return "\n\n".join([*blocks, foot]) + "\n"


def escape(text: str) -> str:
    """Words in which nothing is markup, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()).replace("&", "&amp;"))


def code(text: str, *, in_table: bool = False) -> str:
    """A code span that holds `text` whatever it is, on one line; in a table a bar would end the cell."""
    text = " ".join(text.split())
    text = text.replace("|", "\\|") if in_table else text
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{room}{text}{room}{fence}"


def markdown_of(table: Table) -> str:
    """A table as GitHub renders it, its caption before it."""
    lines = [f"| {' | '.join(escape(column.heading) or ' ' for column in table.columns)} |"]
    lines.append("|" + "|".join("---:" if column.right else "---" for column in table.columns) + "|")
    lines += [
        f"| {' | '.join(_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))} |"
        for row in table.rows
    ]
    return f"{escape(table.caption)}\n\n" + "\n".join(lines)


def _cell(cell: str, column: Column) -> str:
    return code(cell, in_table=True) if column.code else escape(cell)


def _section(section: Section) -> str:
    blocks = []
    for part in section.parts:
        if not (part.words or part.tables or part.commands):
            continue  # a figure alone
        title = [f"**{code(part.title)}**"] if part.title and len(section.parts) > 1 else []
        blocks += [*title, *(escape(words) for words in part.words), *(markdown_of(table) for table in part.tables)]
        blocks += [_fenced(part.commands)] if part.commands else []
    blocks += [_missing(missing) for missing in section.missing]
    body = "\n\n".join(blocks)
    if section.anchor in OPEN:
        return f"### {escape(section.title)}\n\n{body}"
    return f"<details><summary>{escape(section.title)}</summary>\n\n{body}\n\n</details>"


def _fenced(commands: Sequence[str]) -> str:
    lines = [" ".join(command.split()) for command in commands]
    fence = "`" * max(3, 1 + max(len(run) for line in lines for run in re.findall("`*", line)))
    return "\n".join([f"{fence}sh", *lines, fence])


def _missing(missing: Missing) -> str:
    command = f" {code(missing.command)}" if missing.command else ""
    return f"*{escape(missing.words)}*{command}"
