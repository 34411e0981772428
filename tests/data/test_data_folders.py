"""Folders of pictures and idx files, the broken ones included."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.data import BadRow
from toolkit.data.folders import is_idx_folder, read_idx, read_pictures
from toolkit.errors import DataError


def _picture(shade: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 6, 3), shade, dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    pixels = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    files = {
        "train-images-idx3-ubyte": _idx(pixels),
        "train-labels-idx1-ubyte": _idx(np.array([7, 2, 7, 2], dtype=np.uint8)),
        "t10k-images-idx3-ubyte.gz": gzip.compress(_idx(pixels[:2] + 100)),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(_idx(np.array([2, 7], dtype=np.uint8))),
    }
    return _write(tmp_path, files)


def test_a_folder_a_class_keeps_the_bytes_of_its_files(tmp_path: Path) -> None:
    files = {"cat/1.png": _picture(1), "cat/deep/2.JPG": _picture(2, "JPEG"), "dög/a.bmp": _picture(3, "BMP")}
    rows = read_pictures(_write(tmp_path / "photos", {**files, "cat/.DS_Store": b"x", ".git/HEAD": b"x"}))
    assert (rows.name, rows.task, rows.splits, rows.bad) == ("photos", "image", None, ())
    assert rows.examples == list(files.values())
    assert rows.labels == ["cat", "cat", "dög"]


def test_folders_named_after_splits_are_splits(tmp_path: Path) -> None:
    names = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "test/b/1.png"]
    rows = read_pictures(_write(tmp_path, {name: _picture(i) for i, name in enumerate(names)}))
    assert sorted(zip(rows.splits, rows.labels, strict=True)) == [
        ("test", "b"),
        ("train", "a"),
        ("train", "b"),
        ("validation", "a"),
    ]


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    files = {"a/1.png": _picture(1)[:40], "a/2.png": b"", "a/3.png": _picture(3), "b/notes.txt": b"hello"}
    rows = read_pictures(_write(tmp_path, files))
    assert rows.labels == ["a"]
    assert [(bad.file, bad.line) for bad in rows.bad] == [("a/1.png", 0), ("a/2.png", 0), ("b/notes.txt", 0)]
    assert "a picture (the bytes are no picture" in rows.bad[0].expected
    assert rows.bad[2] == BadRow("b/notes.txt", 0, rows.bad[2].expected)
    assert rows.bad[2].expected.startswith("a picture named .png")


def test_the_source_follows_names_and_bytes_of_all_files(tmp_path: Path) -> None:
    files = {"a/1.png": _picture(1), "b/1.png": _picture(2)}
    first = read_pictures(_write(tmp_path / "one", files)).source
    assert read_pictures(_write(tmp_path / "two", files)).source == first
    assert (
        read_pictures(_write(tmp_path / "three", {"a/2.png": files["a/1.png"], "b/1.png": files["b/1.png"]})).source
        != first
    )
    assert read_pictures(_write(tmp_path / "four", {**files, "b/1.png": _picture(9)})).source != first


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures; expected one folder a class"):
        read_pictures(_write(tmp_path, {"loose.png": _picture(1)}))


def test_idx_files_packed_or_not(idx: Path) -> None:
    assert is_idx_folder(idx)
    rows = read_idx(idx)
    assert rows.labels == ["7", "2", "7", "2", "2", "7"]
    assert rows.splits == ["train"] * 4 + ["test"] * 2
    assert rows.examples[1].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert rows.examples[4].tolist() == [[100, 101, 102], [103, 104, 105]]
    assert rows.examples[0].dtype == np.uint8


def test_packing_does_not_change_the_source(idx: Path, tmp_path: Path) -> None:
    before = read_idx(idx).source
    plain = idx / "train-labels-idx1-ubyte"
    (idx / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert read_idx(idx).source == before


def test_classes_of_idx_files_can_be_named(idx: Path) -> None:
    names = [f"class {number}" for number in range(10)]
    assert read_idx(idx, labels=names).labels[:2] == ["class 7", "class 2"]
    with pytest.raises(DataError, match="has label 7; 3 classes are known"):
        read_idx(idx, labels=names[:3])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(40), "no idx file of unsigned bytes with 3 axes"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03\0", "no idx file of unsigned bytes"),
        (
            "train-images-idx3-ubyte",
            _idx(np.zeros((4, 2, 3), np.uint8))[:-1],
            r"says \[4, 2, 3\] and has 23 bytes; expected 24",
        ),
        ("train-labels-idx1-ubyte", _idx(np.zeros(3, np.uint8)), "has 4 pictures and train-labels-idx1-ubyte 3 labels"),
        ("t10k-images-idx3-ubyte.gz", b"\x1f\x8b broken", "no whole gzip file"),
    ],
)
def test_a_broken_idx_file_is_one_error(idx: Path, name: str, content: bytes, words: str) -> None:
    (idx / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(idx)


def test_pictures_without_labels_are_refused(idx: Path) -> None:
    (idx / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has train images or labels alone"):
        read_idx(idx)
