"""Rows of a table become examples and labels; what cannot is named with what was expected."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolkit.data import BadRow
from toolkit.data.columns import choose_columns
from toolkit.data.conversion import rows_of_table
from toolkit.data.rows import Rows
from toolkit.data.tables import Table, read_csv, table_of_columns


def _rows(table: Table, task: str = "text", **told: Any) -> Rows:
    label_names = told.pop("label_names", None)
    columns = choose_columns("f", table.columns, task=task, **told)
    return rows_of_table(table, columns, name="f", task=task, label_names=label_names)


def _columns(**columns: list[Any]) -> Table:
    return table_of_columns("f", columns, "digest")


def test_text_stays_as_it_is_and_labels_lose_outer_spaces() -> None:
    rows = _rows(read_csv("f.csv", "text,label\n  Zwei  Wörter ,  ja \n你好,否\n".encode()))
    assert rows.examples == ["  Zwei  Wörter ", "你好"]
    assert rows.labels == ["ja", "否"]


def test_each_kind_of_bad_row_is_counted_and_named() -> None:
    content = (
        b'text,label,split\nfine,a,train\n,a,train\n"  ",a,dev\nfine,,test\nfine,a,later\n'
        b"\xff\xfe,a,test\nok,\xe9,test\nshort\n"
    )
    rows = _rows(read_csv("f.csv", content))
    assert rows.examples == ["fine"]
    assert rows.splits == ["train"]
    assert rows.bad == (
        BadRow("f.csv", 3, "a text in column 'text'"),
        BadRow("f.csv", 4, "a text in column 'text'"),
        BadRow("f.csv", 5, "a label in column 'label'"),
        BadRow("f.csv", 6, "train, validation or test in column 'split'"),
        BadRow("f.csv", 7, "UTF-8 in column 'text'"),
        BadRow("f.csv", 8, "UTF-8 in column 'label'"),
        BadRow("f.csv", 9, "3 columns, found 1"),
    )


def test_bytes_that_are_no_utf8_do_no_harm_in_a_column_that_is_not_used() -> None:
    rows = _rows(read_csv("f.csv", b"text,label,note\nfine,a,\xff\n"))
    assert (rows.examples, rows.bad) == (["fine"], ())


def test_labels_of_all_types_are_words() -> None:
    table = _columns(text=list("abcdefgh"), label=[1, 1.0, 2.5, True, "x", None, float("nan"), ["list"]])
    rows = _rows(table)
    assert rows.labels == ["1", "1", "2.5", "true", "x"]
    assert [bad.line for bad in rows.bad] == [6, 7, 8]


def test_numbered_labels_become_their_names() -> None:
    rows = _rows(_columns(text=list("abc"), label=[1, 0, -1]), label_names={0: "neg", 1: "pos"})
    assert rows.labels == ["pos", "neg"]
    assert rows.bad == (BadRow("f", 3, "a label 0 to 1 in column 'label'"),)


def test_what_is_no_text_is_bad() -> None:
    rows = _rows(_columns(text=[3, "half \ud83d", {"a": 1}, "fine"], label=list("abcd")))
    assert rows.examples == ["fine"]
    assert [bad.expected for bad in rows.bad] == [
        "a text in column 'text'",
        "UTF-8 in column 'text'",
        "a text in column 'text'",
    ]


def test_names_of_splits_have_aliases() -> None:
    rows = _rows(_columns(text=list("abcd"), label=list("xyxy"), split=["train", "dev", "Val", "test"]))
    assert rows.splits == ["train", "validation", "validation", "test"]


def test_slices_are_carried() -> None:
    rows = _rows(_columns(text=list("abc"), label=list("xyx"), age=[30, 4.0, None]), slices=["age"])
    assert rows.slices == {"age": ["30", "4", ""]}


def test_records_of_a_csv_get_types() -> None:
    content = "user_id,age,genres,city,label\n7,24,Action|Comedy,Köln,1\n8,,Drama,,0\n,,,,1\n"
    rows = _rows(read_csv("f.csv", content.encode()), "recommend")
    assert rows.examples == [
        {"user_id": "7", "age": 24.0, "genres": ["Action", "Comedy"], "city": "Köln"},
        {"user_id": "8", "genres": ["Drama"]},
    ]
    assert rows.labels == ["1", "0"]
    assert rows.bad == (BadRow("f.csv", 4, "a value in at least one field"),)


def test_records_of_a_typed_table_are_those_of_the_csv() -> None:
    table = _columns(
        user_id=[7, 8], age=[24, None], genres=[["Action", "Comedy"], ["Drama"]], city=["Köln", None], label=[1, 0]
    )
    content = "user_id,age,genres,city,label\n7,24,Action|Comedy,Köln,1\n8,,Drama,,0\n"
    assert _rows(table, "recommend").examples == _rows(read_csv("f.csv", content.encode()), "recommend").examples


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("age", ["24", "old"], ["24", "old"]),
        ("age", ["24", "1e3"], [24.0, 1000.0]),
        ("age", ["24", "inf"], ["24", "inf"]),
        ("userId", ["1", "2"], ["1", "2"]),
        ("item", ["1", "2"], ["1", "2"]),
        ("humid", ["1", "2"], [1.0, 2.0]),
    ],
)
def test_when_a_column_is_numbers(name: str, values: list[str], expected: list[Any]) -> None:
    content = f"{name},label\n{values[0]},a\n{values[1]},b\n"
    rows = _rows(read_csv("f.csv", content.encode()), "recommend")
    assert [example[name] for example in rows.examples] == expected


def test_pictures_in_a_column_stay_bytes_and_broken_ones_are_named() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(buffer, "PNG")
    good = buffer.getvalue()
    table = _columns(image=[good, {"bytes": good, "path": None}, good[:20], "name.png"], label=list("abab"))
    rows = _rows(table, "image")
    assert rows.examples == [good, good]
    assert [(bad.line, bad.expected.split(" in ")[0]) for bad in rows.bad] == [
        (3, "a picture"),
        (4, "the bytes of a picture"),
    ]


def test_the_source_is_told_by_bytes_task_and_columns_not_by_slices() -> None:
    table = read_csv("f.csv", b"text,title,label,sex\na,b,x,f\n")
    first = _rows(table, text="text")
    assert _rows(table, text="text", slices=["sex"]).source == first.source
    assert _rows(table, text="title").source != first.source
    assert _rows(read_csv("g.csv", b"text,title,label,sex\na,b,x,f\n"), text="text").source == first.source
    assert _rows(read_csv("f.csv", b"text,title,label,sex\na,b,y,f\n"), text="text").source != first.source
