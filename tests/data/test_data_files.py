"""A path finds its reader."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolkit.data.files import read_path
from toolkit.errors import DataError

LINES = "text,label\ngood film,pos\nbad film,neg\n"


def test_a_table_is_text_unless_another_task_is_given(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(LINES)
    rows = read_path(tmp_path / "f.csv")
    assert (rows.name, rows.task, rows.labels) == ("f.csv", "text", ["pos", "neg"])
    rows = read_path(tmp_path / "f.csv", task="recommend")
    assert rows.examples == [{"text": "good film"}, {"text": "bad film"}]


def test_one_table_a_split_in_a_folder(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.csv").write_text(LINES.replace("film", f"film of {name}"))
    (tmp_path / "README.md").write_text("not data")
    rows = read_path(tmp_path)
    assert len(rows.examples) == 6
    assert dict(zip(rows.examples, rows.splits, strict=True))["bad film of dev"] == "validation"
    before = rows.source
    (tmp_path / "dev.csv").write_text(LINES)
    assert read_path(tmp_path).source != before


def test_tables_without_a_header_by_position(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text(f"good {name}\t1\nbad {name}\t0\n")
    rows = read_path(tmp_path, text="0", label="1")
    assert rows.examples[:2] == ["good test", "bad test"] or rows.examples[:2] == ["good train", "bad train"]
    assert sorted(rows.splits) == ["test", "test", "train", "train"]


def test_bad_rows_of_a_folder_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(LINES)
    (tmp_path / "test.csv").write_text("text,label\n,pos\n")
    assert [(bad.file, bad.line) for bad in read_path(tmp_path).bad] == [("test.csv", 2)]


def test_a_lone_table_in_a_folder_is_not_split(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(LINES)
    assert read_path(tmp_path).splits is None


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.csv": LINES, "training.csv": LINES}, "more than one table for a split"),
        ({"train.csv": LINES, "test.csv": "a,b\n1,2\n"}, "has other columns than"),
        ({"train.csv": LINES, "test.jsonl": '{"text": "a", "label": "b"}\n'}, "has other columns than"),
        (
            {"train.csv": "text,label,split\na,b,test\n", "dev.csv": "text,label,split\na,b,test\n"},
            "expected one of both",
        ),
    ],
)
def test_tables_that_do_not_go_together(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        read_path(tmp_path)


def test_a_folder_of_pictures_is_image(tmp_path: Path) -> None:
    for name in ("a", "b"):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(buffer, "PNG")
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(buffer.getvalue())
    assert read_path(tmp_path).task == "image"
    told: list[tuple[dict[str, Any], str]] = [
        ({"task": "text"}, "is a folder of pictures, which the task text cannot use"),
        ({"label": "x"}, "is a folder of pictures and has no columns"),
    ]
    for options, words in told:
        with pytest.raises(DataError, match=words):
            read_path(tmp_path, **options)


def test_the_wrong_path_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither a file nor a folder; allowed: a file \.csv, \.tsv"):
        read_path(tmp_path / "none.csv")
