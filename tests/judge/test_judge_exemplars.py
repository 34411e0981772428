"""The changed rows as a person reads them: their order, what is shown, and that no report holds them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toolkit.data import Split
from toolkit.errors import InputError
from toolkit.judge.exemplars import list_exemplars, shorten, write_exemplars
from toolkit.judge.flips import Flips, find_flips
from toolkit.judge.listing import EXEMPLAR_TITLES, exemplar_rows

LABELS = ("cat", "dog", "cow")


def flipped() -> tuple[Flips, Split]:
    """Six rows: 0 newly wrong, 1 newly wrong and surer, 2 fixed, 3 from wrong to wrong, 4 and 5 as before."""
    truth = np.array([0, 1, 2, 0, 1, 2])
    before = np.array([[.8, .1, .1], [.1, .6, .3], [.7, .2, .1], [.1, .5, .4], [.1, .8, .1], [.9, .1, 0]])  # fmt: skip
    after = np.array([[.3, .6, .1], [.9, .1, .0], [.1, .2, .7], [.1, .2, .7], [.2, .7, .1], [.8, .1, .1]])  # fmt: skip
    return find_flips(before, after, truth), Split([f"row number {row}" for row in range(6)], truth)


def test_the_surest_mistakes_come_first_and_fixed_rows_last() -> None:
    flips, split = flipped()
    found = list_exemplars(flips, split, LABELS)
    assert [exemplar.row for exemplar in found] == [1, 3, 0, 2]
    assert [exemplar.fixed for exemplar in found] == [False, False, False, True]
    first = found[0]
    assert (first.label, first.before, first.after) == ("dog", "dog", "cat")
    assert (first.before_score, first.after_score) == (0.6, 0.9)
    assert first.example == "row number 1"


def test_count_is_of_either_kind() -> None:
    flips, split = flipped()
    assert [exemplar.row for exemplar in list_exemplars(flips, split, LABELS, count=1)] == [1, 2]
    assert list_exemplars(flips, split, LABELS, count=0) == []


def test_flips_of_other_rows_are_refused() -> None:
    flips, split = flipped()
    with pytest.raises(InputError, match="6 rows and the split has 5"):
        list_exemplars(flips, split.take(range(5)), LABELS)


def test_a_terminal_gets_one_printable_line() -> None:
    assert shorten("two\nlines\tand \x1b[31mred") == "two lines and ?[31mred"
    long = shorten("word " * 40)
    assert len(long) == 80
    assert long.endswith("…")
    assert shorten(b"\x89PNG....") == "a picture of 8 bytes"
    assert shorten(np.zeros((8, 8), np.uint8)) == "a picture of 8x8"
    assert shorten({"user": "7", "age": 20.0}) == "user 7, age 20.0"


def test_rows_of_the_table_have_its_columns() -> None:
    flips, split = flipped()
    rows = exemplar_rows(list_exemplars(flips, split, LABELS))
    assert all(len(row) == len(EXEMPLAR_TITLES) for row in rows)
    assert rows[0] == ("1", "dog", "dog 0.60", "cat 0.90", "wrong", "row number 1")
    assert rows[-1][4] == "fixed"


def test_a_file_holds_whole_rows_and_is_never_replaced(tmp_path: Path) -> None:
    flips, split = flipped()
    examples = ["x" * 500, "é \ud800", *split.examples[2:]]
    found = list_exemplars(flips, Split(examples, split.labels), LABELS)
    write_exemplars(tmp_path / "changed.jsonl", found)
    lines = [json.loads(line) for line in (tmp_path / "changed.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 3, 0, 2]
    assert lines[2]["example"] == "x" * 500
    with pytest.raises(InputError, match="exists; give another name"):
        write_exemplars(tmp_path / "changed.jsonl", found)
    with pytest.raises(InputError, match="is no folder"):
        write_exemplars(tmp_path / "nowhere" / "changed.jsonl", found)


def test_pictures_and_pixels_can_be_written(tmp_path: Path) -> None:
    flips, split = flipped()
    pictures = [b"\x00\xff", np.arange(4, dtype=np.uint8).reshape(2, 2), *split.examples[2:]]
    write_exemplars(tmp_path / "changed.jsonl", list_exemplars(flips, Split(pictures, split.labels), LABELS))
    lines = {json.loads(line)["row"]: json.loads(line) for line in (tmp_path / "changed.jsonl").open()}
    assert lines[0]["example"] == "AP8="
    assert lines[1]["example"] == [[0, 1], [2, 3]]


def test_flips_in_a_report_have_numbers_and_no_example() -> None:
    flips, _ = flipped()
    assert "row number" not in json.dumps(flips.to_json(rows=True))
