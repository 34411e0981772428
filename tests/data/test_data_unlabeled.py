"""Texts without labels: lines and tables, as they are, and one line for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.data.unlabeled import read_texts
from toolkit.errors import DataError


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", ["more.txt", "MORE.TXT", "more"])
def test_lines_are_texts_as_they_are(tmp_path: Path, name: str) -> None:
    content = "\ufeff Who wrote it ?\r\n\r\n  \nWho wrote it ?\n谁写了 \u2028 ?"
    texts = read_texts(_write(tmp_path, name, content))
    assert texts == [" Who wrote it ?", "Who wrote it ?", "谁写了 \u2028 ?"]


def test_a_file_of_lines_has_no_columns_so_the_name_of_one_says_nothing(tmp_path: Path) -> None:
    assert read_texts(_write(tmp_path, "more.txt", "a, b\n"), text="question") == ["a, b"]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", 'id,Text\n1,"one, two"\n2,\n3,three\n', None),
        ("a.csv", 'id,body,text\n1,"one, two",x\n3,three,y\n', "body"),
        ("a.csv", '1,"one, two"\n3,three\n', "1"),
        ("a.csv", 'whatever\n"one, two"\nthree\n', None),
        ("a.tsv", "label\tquestion\n0\tone, two\n1\tthree\n", None),
        ("a.jsonl", '{"text": "one, two", "n": 1}\n{"n": 2}\n{"text": null}\n{"text": "three"}\n', None),
    ],
)
def test_a_table_gives_its_column_of_texts(tmp_path: Path, name: str, content: str, text: str | None) -> None:
    assert read_texts(_write(tmp_path, name, content), text=text) == ["one, two", "three"]


def test_parquet_is_a_table_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"n": [1, 2], "review": ["one", "two"]}), tmp_path / "a.parquet")
    assert read_texts(str(tmp_path / "a.parquet")) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "text", "said"),
    [
        ("a.txt", "\n \n", None, "a.txt holds no text; give a file with at least one"),
        ("a.txt", "", None, "a.txt holds no text"),
        ("a.txt", b"caf\xe9\n", None, r"a.txt is not UTF-8 \(byte 3\); save it as UTF-8"),
        ("a.pdf", "text", None, "a.pdf cannot be read as texts; give a .txt file with one text a line"),
        ("a.csv", "", None, "a.csv is empty"),
        ("a.csv", "text\n", None, "a.csv holds no text"),
        ("a.csv", "text,note\nx,y\n", "body", "--text 'body' is no column; a.csv has the columns: 'text', 'note'"),
        ("a.csv", "text,body\nx,y\n", None, "not plain which column holds the texts; say it with --text; a.csv has"),
        ("a.csv", "left,right\nx,y\n", None, "not plain which column"),
        ("a.csv", "x,y\nz,w\n", "2", "--text '2' is no column; a.csv has the columns: '0', '1'"),
        ("a.csv", "text,n\na,1\nb\nc\n", None, "a.csv line 3 cannot be used, and 1 more: expected 2 columns, found 1"),
        ("a.csv", b"text\ncaf\xe9\n", None, "a.csv line 2 cannot be used: expected UTF-8 in column 'text'"),
        ("a.jsonl", '{"text": "a"}\n{"text": 7}\n', None, "a.jsonl line 2 .* a text in column 'text', found int"),
        ("a.jsonl", '{"text": "a"}\nnot json\n', None, "a.jsonl line 2 cannot be used: expected a JSON object"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, text: str | None, said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_texts(_write(tmp_path, name, content), text=text)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no file; give a \.txt file"):
        read_texts(tmp_path)
    with pytest.raises(DataError, match=r"does not exist; give a \.txt file"):
        read_texts(tmp_path / "none.txt")
