"""The known sets are what the table says they are, from the real archives."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from toolkit.data import images
from toolkit.data.archives import ARCHIVES
from toolkit.data.images import FASHION_CLASSES, FASHION_FOLDER
from toolkit.data.loading import load_data
from toolkit.data.named import KNOWN
from toolkit.data.ratings import age_group
from toolkit.errors import DataError

HERE = [name for name in KNOWN if name != "fashion-mnist" or FASHION_FOLDER.is_dir()]


@pytest.fixture(scope="module", params=HERE)
def named(request: pytest.FixtureRequest) -> tuple[str, object]:
    return request.param, load_data(request.param)


def test_every_known_set_is_what_the_table_says(named) -> None:
    name, data = named
    known = KNOWN[name]
    assert (data.name, data.task, len(data.labels)) == (name, known.task, known.classes)
    assert data.counts["rows_used"] == known.rows == sum(len(split) for split in data.splits.values())
    assert data.counts["bad_rows"] == len(data.bad_rows) == 0
    assert list(data.splits) == ["train", "validation", "test"]
    for split in data.splits.values():
        assert set(split.labels.tolist()) == set(range(known.classes))
        assert split.labels.dtype == np.int64
    assert known.archive is None or known.archive in ARCHIVES


def test_trec_is_folded_from_its_repeats() -> None:
    data = load_data("trec")
    assert data.labels == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert data.counts["rows_read"] == 15452
    assert data.counts["duplicates_folded"] == 10072
    asked = {
        text: label for split in data.splits.values() for text, label in zip(split.examples, split.labels, strict=True)
    }
    assert data.labels[asked["What fowl grabs the spotlight after the Chinese Year of the Monkey ?"]] == "ENTY"


def test_spam_is_the_minority() -> None:
    data = load_data("sms-spam")
    labels = np.concatenate([split.labels for split in data.splits.values()])
    assert data.labels == ("ham", "spam")
    assert 0.12 < labels.mean() < 0.14


def test_reuters_keeps_its_official_test() -> None:
    data = load_data("reuters-r8")
    assert 2189 - 20 < len(data.split("test")) <= 2189
    assert len(data.split("train")) + len(data.split("validation")) <= 5485
    assert any(text.startswith("asian exporters fear damage") for text in data.split("test").examples)
    assert max(map(len, data.split("train").examples)) > 3000


def test_mnist_is_shuffled_out_of_its_order() -> None:
    data = load_data("mnist-5k")
    train = data.split("train")
    assert train.examples[0].shape == (28, 28)
    assert train.examples[0].dtype == np.uint8
    heads = np.bincount(train.labels[:500])
    assert heads.min() > 30  # 50 of each expected, deviation 6
    assert np.bincount(data.split("test").labels).tolist() == [100] * 10


def test_digits_use_the_whole_range_of_grey() -> None:
    train = load_data("digits").split("train")
    assert train.examples[0].shape == (8, 8)
    assert max(picture.max() for picture in train.examples) == 255
    assert min(picture.min() for picture in train.examples) == 0


def test_movielens_is_split_by_time_and_carries_slices() -> None:
    known = KNOWN["movielens-100k"].loader()
    assert known.splits == ["train"] * 70_000 + ["validation"] * 10_000 + ["test"] * 20_000
    # the first rating of all by time, 1997-09-20: user 259 gave item 255 a 4
    assert (known.examples[0]["user"], known.examples[0]["item"], known.labels[0]) == ("259", "255", "like")
    assert known.examples[0]["age"] == 21.0
    assert 0.55 < known.labels.count("like") / 100_000 < 0.56
    record = next(e for e in known.examples if e["user"] == "1" and e["item"] == "1")
    assert record == {
        "user": "1", "item": "1", "age": 24.0, "sex": "M", "occupation": "technician",
        "genres": ["Animation", "Children's", "Comedy"], "year": 1995.0,
    }  # fmt: skip
    assert set(known.slices["sex"]) == {"F", "M"}
    assert set(known.slices["age_group"]) == {"under 18", "18-24", "25-34", "35-49", "50 and over"}


@pytest.mark.parametrize(
    ("age", "group"), [(17, "under 18"), (18, "18-24"), (34, "25-34"), (49, "35-49"), (50, "50 and over")]
)
def test_age_groups_have_no_gap(age: float, group: str) -> None:
    assert age_group(age) == group


def test_fashion_mnist_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FASHION_FOLDER", tmp_path / "none")
    with pytest.raises(DataError, match="none is missing; get it with apt-get install dataset-fashion-mnist"):
        load_data("fashion-mnist")


@pytest.mark.skipif(not FASHION_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_keeps_its_official_test() -> None:
    data = load_data("fashion-mnist")
    assert [len(data.split(name)) for name in ("train", "validation", "test")] == [52_500, 7_500, 10_000]
    assert np.bincount(data.split("validation").labels).tolist() == [750] * 10
    assert np.bincount(data.split("test").labels).tolist() == [1000] * 10
    assert data.split("train").examples[0].dtype == np.uint8
    assert set(data.labels) == set(FASHION_CLASSES)


def test_fashion_mnist_reads_the_idx_files_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for prefix, rows in (("train", 60), ("t10k", 20)):
        pixels = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        header = struct.pack(">IIII", 2051, rows, 28, 28)
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        labels = bytes(row % 10 for row in range(rows))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">II", 2049, rows) + labels)
        )
    monkeypatch.setattr(images, "FASHION_FOLDER", tmp_path)
    data = load_data("fashion-mnist")
    assert set(data.labels) == set(FASHION_CLASSES)
    assert (len(data.split("train")) + len(data.split("validation")), len(data.split("test"))) == (60, 20)
