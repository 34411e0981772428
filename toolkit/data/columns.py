"""Which column holds the example, which the label: as told, or guessed where only one can be meant.

The rule: a column the user names is taken. Otherwise the one column whose name is a usual one for its
part (below; case and outer spaces do not count) is it. Where a table has just two columns beside the
split and one is known, the other is the other. Anything else is ambiguous and an error that lists the
columns. A column named `split` is the split. For the task recommend, all other columns are fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import DataError

EXAMPLE_NAMES = {
    "text": ("text", "sentence", "question", "review", "content", "message", "body", "document", "comment"),
    "image": ("image", "img", "picture", "photo"),
}
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "y")


@dataclass(frozen=True)
class Columns:
    """The chosen columns; `example` is empty for the task recommend, whose examples are `fields`."""

    example: str
    label: str
    split: str | None
    fields: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()


def choose_columns(
    name: str,
    available: Sequence[str],
    *,
    task: str,
    text: str | None = None,
    label: str | None = None,
    slices: Sequence[str] = (),
) -> Columns:
    """The columns of `available` for `task`; `name` is the source, for errors.

    Raises `DataError` listing the columns when one is missing or it is not plain which is meant.
    """
    listed = f"{name} has the columns: {', '.join(repr(column) for column in available)}"
    for option, wanted in (("--text", text), ("--label", label), *(("--slice", column) for column in slices)):
        if wanted is not None and wanted not in available:
            raise DataError(f"{option} {wanted!r} is no column; {listed}")
    if len(set(available)) != len(available):
        raise DataError(f"two columns have one name; {listed}")
    if text is not None and text == label:
        raise DataError(f"--text and --label are both {text!r}; {listed}")
    split = next((c for c in available if _plain(c) == "split" and c not in (text, label)), None)
    rest = [column for column in available if column != split]
    if task == "recommend":
        if text is not None:
            raise DataError("--text is not for the task recommend: every column but the label is a field")
        chosen = label or _guess(rest, LABEL_NAMES)
        if chosen is None:
            raise DataError(f"say which column is the answer with --label; {listed}")
        fields = tuple(column for column in rest if column != chosen)
        if not fields:
            raise DataError(f"no column is left as a field beside the label {chosen!r}; {listed}")
        return Columns("", chosen, split, fields, tuple(slices))
    answer = label or _guess([c for c in rest if c != text and c not in slices], LABEL_NAMES)
    example = text or _guess([c for c in rest if c != answer and c not in slices], EXAMPLE_NAMES[task])
    pair = [column for column in rest if column not in slices]
    if len(pair) == 2 and (answer is None) != (example is None):
        other = next(column for column in pair if column not in (answer, example))
        answer, example = answer or other, example or other
    if answer is None or example is None:
        missing = [o for o, found in (("--text", example), ("--label", answer)) if found is None]
        raise DataError(f"it is not plain which column is meant; say it with {' and '.join(missing)}; {listed}")
    return Columns(example, answer, split, (), tuple(slices))


def _plain(column: str) -> str:
    return column.strip().casefold()


def _guess(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    found = [column for column in columns if _plain(column) in usual]
    return found[0] if len(found) == 1 else None
