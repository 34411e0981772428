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


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_text_and_label_without_names_are_recognized(tmp_path: Path, suffix: str) -> None:
    mark = {".tsv": "\t", ".csv": ","}[suffix]
    for name in ("train", "dev", "test"):
        lines = [f"film {row} of {name}{mark}{row % 2}" for row in range(4)]
        (tmp_path / f"{name}{suffix}").write_text("\n".join(lines) + "\n")
    rows = read_path(tmp_path)
    assert len(rows.examples) == 12, "the first line is a row too"
    assert dict(zip(rows.examples, rows.labels, strict=True))["film 3 of dev"] == "1"
    assert rows.splits.count("validation") == 4
    assert rows.source == read_path(tmp_path, text="0", label="1").source, "as if it had been said"
    assert read_path(tmp_path / f"train{suffix}").examples[0] == "film 0 of train"


def test_the_label_may_come_first(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_text("ham\tgood\nspam\tbad\nham\tfine\nspam\tworse\n")
    rows = read_path(tmp_path / "f.tsv")
    assert (rows.examples, rows.labels) == (["good", "bad", "fine", "worse"], ["ham", "spam", "ham", "spam"])


@pytest.mark.parametrize(
    "lines",
    [
        "who\twhat\na\t1\nb\t0\nc\t1\nd\t0\n",  # a name that is none of its values
        "a\t1\nb\t2\nc\t3\nd\t1\n",  # too many values to be classes
        "x\t1\nx\t1\ny\t0\ny\t0\n",  # either column could be it
        "a\t1\tz\nb\t0\tz\nc\t1\tz\nd\t0\tz\n",  # three columns
    ],
)
def test_what_is_not_plain_is_asked(tmp_path: Path, lines: str) -> None:
    (tmp_path / "f.tsv").write_text(lines)
    with pytest.raises(DataError, match="--text"):
        read_path(tmp_path / "f.tsv")


def test_a_usual_name_in_the_first_line_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_text("text\ty\na\ty\nb\tn\nc\ty\nd\tn\n")
    assert read_path(tmp_path / "f.tsv").examples == ["a", "b", "c", "d"]


def test_a_row_of_train_that_stands_in_test_too_judges_only(tmp_path: Path) -> None:
    from toolkit.data.loading import load_data

    (tmp_path / "train.tsv").write_text("".join(f"film {row}\t{row % 2}\n" for row in range(24)))
    (tmp_path / "test.tsv").write_text("Film  3\t1\nother\t0\nanother\t1\nlast\t0\n")
    data = load_data(str(tmp_path))
    assert data.counts["duplicates_folded"] == 1
    assert "Film  3" in data.split("test").examples
    assert "film 3" not in [*data.split("train").examples, *data.split("validation").examples]


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
