"""Tables are read with the line of every row; a row that cannot be read is named, never lost."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data import BadRow
from toolkit.data.tables import Table, read_csv, read_jsonl, read_table, read_tsv
from toolkit.errors import DataError

CELL = st.text(max_size=20)


def _values(table: Table) -> list[list[str]]:
    return [list(row.values.values()) for row in table.rows]


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=8), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_csv_that_python_writes_is_read_back(rows: list[tuple[str, str]], quoting: int) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=quoting)
    starts = []
    for row in [("text", "label"), *rows]:
        starts.append(len(_lines(buffer.getvalue())) + 1)
        writer.writerow(row)
    for mark in (b"", b"\xef\xbb\xbf"):
        table = read_csv("f.csv", mark + buffer.getvalue().encode())
        assert table.columns == ("text", "label")
        assert _values(table) == [list(row) for row in rows]
        assert [row.line for row in table.rows] == starts[1:]
        assert table.bad == []


def _lines(text: str) -> list[str]:
    """Lines as an editor counts them: \\n, \\r and \\r\\n end one, nothing else does."""
    return list(io.StringIO(text, newline=""))


def test_lines_are_right_below_quoted_line_breaks() -> None:
    content = b'text,label\r\n"one\r\ntwo, ""three""",a\r\nplain,b\r\n\r\nshort\r\nlast,c'
    table = read_csv("f.csv", content)
    assert [(row.line, row.values["text"]) for row in table.rows] == [
        (2, 'one\r\ntwo, "three"'),
        (4, "plain"),
        (7, "last"),
    ]
    assert table.bad == [BadRow("f.csv", 6, "2 columns, found 1")]


def test_a_quote_that_never_closes_is_named_where_it_opens() -> None:
    table = read_csv("f.csv", b'text,label\nfine,a\n"open,b\nlost,a\nlost,b\n')
    assert [row.values["text"] for row in table.rows] == ["fine"]
    assert table.bad == [BadRow("f.csv", 3, "a closing quote: lines 3 to 5 were read as one field")]


def test_a_quote_out_of_place_costs_one_row() -> None:
    table = read_csv("f.csv", b'text,label\n"a" b,x\nfine,y\n')
    assert [(row.line, row.values["text"]) for row in table.rows] == [(3, "fine")]
    assert [(bad.line, bad.expected[:27]) for bad in table.bad] == [(2, "fields separated by commas,")]


def test_long_fields_are_read_and_the_limit_of_the_csv_module_is_left_alone() -> None:
    before = csv.field_size_limit()
    assert len(read_csv("f.csv", b"text,label\n" + b"x" * 400_000 + b",a\n").rows[0].values["text"]) == 400_000
    assert csv.field_size_limit() == before


def test_tsv_does_not_quote() -> None:
    table = read_tsv("f.tsv", b'text\tlabel\r\n"so he said\t1\r\na\tb\tc\r\n\r\nlast "word"\t0')
    assert [(row.line, row.values["text"]) for row in table.rows] == [(2, '"so he said'), (5, 'last "word"')]
    assert table.bad == [BadRow("f.tsv", 3, "2 columns, found 3")]


def test_separators_of_unicode_end_no_line() -> None:
    table = read_tsv("f.tsv", "text\tlabel\none\u2028two\x0bthree\x85four\ta\n".encode())
    assert table.rows[0].values["text"] == "one\u2028two\x0bthree\x85four"


def test_jsonl_keeps_types_and_names_lines_that_are_no_objects() -> None:
    content = '\ufeff{"text": "你好", "label": 1}\n\n[1]\n{"text": \n{"extra": [1.5, null], "label": true}\n\xff'
    table = read_jsonl("f.jsonl", content.encode("utf-8"))
    assert table.columns == ("text", "label", "extra")
    assert [(row.line, dict(row.values)) for row in table.rows] == [
        (1, {"text": "你好", "label": 1}),
        (5, {"extra": [1.5, None], "label": True}),
    ]
    assert table.bad == [BadRow("f.jsonl", line, "a JSON object") for line in (3, 4, 6)]


def test_a_json_bomb_of_brackets_is_a_bad_row() -> None:
    table = read_jsonl("f.jsonl", b"[" * 200_000 + b'\n{"text": "fine"}\n')
    assert (len(table.rows), len(table.bad)) == (1, 1)


def test_parquet_is_read_with_types(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "f.parquet"
    columns = {"text": ["a", "好", None], "label": [1, 2, 3], "tags": [["x"], [], None]}
    parquet.write_table(arrow.table(columns), path)
    table = read_table(path)
    assert table.typed
    assert _values(table) == [["a", 1, ["x"]], ["好", 2, []], [None, 3, None]]
    assert [row.line for row in table.rows] == [1, 2, 3]


def test_a_table_without_a_header_has_its_columns_by_position(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_text("good\t1\nbad\t0\n")
    table = read_table(tmp_path / "f.tsv", positions=True)
    assert table.columns == ("0", "1")
    assert [(row.line, row.values["0"]) for row in table.rows] == [(1, "good"), (2, "bad")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.txt", b"x", r"f\.txt is no table that can be read; allowed: \.csv, \.tsv, \.jsonl"),
        ("f.csv", b"", r"f\.csv is empty"),
        ("f.csv", b"\n\n", r"f\.csv is empty"),
        ("f.csv", b"a,a\n1,2\n", "two columns of one name"),
        ("f.csv", b'"open\n', "first line of f.csv cannot be read; expected a closing quote"),
        ("f.csv", "text,label\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("f.parquet", b"PAR1 nothing", r"f\.parquet is no parquet file that can be read"),
    ],
)
def test_a_file_that_is_no_table_is_one_error(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / name)


def test_positions_are_for_tables_without_names(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match="names its columns"):
        read_table(tmp_path / "f.jsonl", positions=True)


def test_the_digest_is_that_of_the_bytes() -> None:
    assert read_csv("a.csv", b"t,l\n1,2\n").content == read_csv("b.csv", b"t,l\n1,2\n").content
    assert read_csv("a.csv", b"t,l\n1,2\n").content != read_csv("a.csv", b"t,l\n1,3\n").content
