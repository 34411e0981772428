"""Splits are disjoint, stratified, counted, and the same on any machine."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data import BadRow, Data, fold_text, hash_rows
from toolkit.data.rows import Rows, split_name
from toolkit.data.splitting import judge_rows, split_rows
from toolkit.errors import DataError


def _rows(pairs: list[tuple[str, str]], splits: list[str] | None = None, bad: tuple[BadRow, ...] = ()) -> Rows:
    return Rows("set", "text", [t for t, _ in pairs], [label for _, label in pairs], "digest", splits, bad=bad)


def _hashes(data: Data) -> dict[str, set[int]]:
    return {name: set(hash_rows(split.examples).tolist()) for name, split in data.splits.items()}


def _balanced(rows: int, classes: int = 2) -> list[tuple[str, str]]:
    return [(f"text {row}", f"class {row % classes}") for row in range(rows)]


def test_seventy_ten_twenty_in_every_class() -> None:
    pairs = [(f"a {i}", "a") for i in range(100)] + [(f"b {i}", "b") for i in range(50)]
    data = split_rows(_rows(pairs), seed=0)
    counts = {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()}
    assert counts == {"train": [70, 35], "validation": [10, 5], "test": [20, 10]}


WORD = st.text(alphabet="aB \u00df好", min_size=1, max_size=4).filter(str.strip)


@settings(deadline=None, max_examples=100)
@given(pairs=st.lists(st.tuples(WORD, st.sampled_from("xyz")), min_size=1, max_size=60), seed=st.integers(0, 5))
def test_splits_are_disjoint_and_every_row_is_accounted_for(pairs: list[tuple[str, str]], seed: int) -> None:
    bad = (BadRow("f", 1, "a text"),)
    try:
        data = split_rows(_rows(pairs, bad=bad), seed=seed)
    except DataError:
        return
    hashes = _hashes(data)
    assert sum(map(len, hashes.values())) == len(set().union(*hashes.values())) == data.counts["rows_used"]
    counts = data.counts
    gone = counts["duplicates_folded"] + counts["two_labels_dropped"] + counts["bad_rows"]
    assert counts["rows_read"] == len(pairs) + 1 == gone + counts["rows_used"]
    truth: dict[str, set[str]] = {}
    for text, label in pairs:
        truth.setdefault(fold_text(text), set()).add(label)
    assert counts["rows_used"] == sum(len(labels) == 1 for labels in truth.values())
    for split in data.splits.values():
        for text, label in zip(split.examples, split.labels, strict=True):
            assert truth[fold_text(text)] == {data.labels[label]}


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=5).filter(lambda sizes: max(sizes) > 2))
def test_small_classes_go_where_it_is_documented(sizes: list[int]) -> None:
    pairs = [(f"{name} {row}", f"c{name}") for name, size in enumerate(sizes) for row in range(size)]
    data = split_rows(_rows(pairs), seed=1)
    assert data.counts.get("classes_below_three_rows", 0) == sum(size < 3 for size in sizes)
    for name, size in enumerate(sizes):
        number = data.labels.index(f"c{name}")
        found = {split for split, part in data.splits.items() if number in part.labels}
        expected = {1: {"train"}, 2: {"train", "test"}}
        assert found == expected.get(size, {"train", "validation", "test"})


def test_duplicates_are_folded_before_splitting() -> None:
    pairs = [
        *_balanced(30),
        ("TEXT  3", "class 1"),
        (" text 3\n", "class 1"),
        ("text 4", "class 1"),
        ("Straße", "class 0"),
        ("STRASSE", "class 0"),
    ]
    data = split_rows(_rows(pairs), seed=0)
    assert data.counts["duplicates_folded"] == 3
    assert data.counts["two_labels_dropped"] == 2
    assert data.counts["rows_used"] == 30
    assert fold_text("text 4") not in {fold_text(t) for split in data.splits.values() for t in split.examples}


def test_the_split_depends_on_rows_and_seed_not_on_their_order() -> None:
    pairs = _balanced(60)
    forward, backward = split_rows(_rows(pairs), seed=3), split_rows(_rows(pairs[::-1]), seed=3)
    assert forward.record().digests == backward.record().digests
    assert split_rows(_rows(pairs), seed=4).record().digests != forward.record().digests


def test_the_split_is_the_same_whatever_python_hashes_with() -> None:
    program = (
        "from toolkit.data.rows import Rows; from toolkit.data.splitting import split_rows;"
        "t=[f'text {i}' for i in range(60)]; l=[f'class {i%3}' for i in range(60)];"
        "d=split_rows(Rows('set','text',t,l,'digest'),seed=7); print(sorted(d.record().digests.items()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(outputs) == 1


def test_the_split_of_today_is_the_split_of_tomorrow() -> None:
    """A change of this digest breaks every model trained before: it needs a reason and a line in CHANGELOG."""
    data = split_rows(_rows(_balanced(20)), seed=0)
    assert data.split("test").examples == ["text 14", "text 7", "text 12", "text 11"]


def test_given_splits_are_taken_at_their_word() -> None:
    pairs = _balanced(10)
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 4
    data = split_rows(_rows(pairs, splits), seed=0)
    assert {name: sorted(split.examples) for name, split in data.splits.items()} == {
        "train": [f"text {i}" for i in range(4)],
        "validation": ["text 4", "text 5"],
        "test": [f"text {i}" for i in range(6, 10)],
    }


def test_a_copy_of_a_test_row_leaves_the_train_split() -> None:
    pairs = [*_balanced(10), ("TEXT 9", "class 1"), ("text 4 ", "class 0")]
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 4 + ["train", "test"]
    data = split_rows(_rows(pairs, splits), seed=0)
    assert len(data.split("train")) == 4
    assert {len(part) for part in _hashes(data).values()} == {4, 1, 5}


def test_without_a_given_validation_an_eighth_of_train_becomes_it() -> None:
    data = split_rows(_rows(_balanced(100), ["train"] * 80 + ["test"] * 20), seed=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 70, "validation": 10, "test": 20}
    assert np.bincount(data.split("validation").labels).tolist() == [5, 5]
    assert sorted(data.split("test").examples) == sorted(f"text {i}" for i in range(80, 100))


def test_without_a_given_test_there_is_none() -> None:
    data = split_rows(_rows(_balanced(20), ["train"] * 16 + ["validation"] * 4), seed=0)
    with pytest.raises(DataError, match="set has no test split; it has: train, validation"):
        data.split("test")


@pytest.mark.parametrize(
    ("pairs", "splits", "words"),
    [
        ([], None, "has no row; expected examples"),
        ([(f"t{i}", "one") for i in range(9)], None, r"one class only \('one'\)"),
        ([("a", "x"), ("b", "y"), ("c", "y")], None, r"3 usable row\(s\), too few for a validation split"),
        ([("a", "x"), ("A ", "y")], None, "each of its 2 rows has a copy with another label"),
        (_balanced(4), ["test"] * 4, "no row in its train split; its splits: train 0"),
        (_balanced(4), ["train", "test", "test", "train"], None),
        ([("a", "x"), ("b", "y"), ("c", "z")], ["train", "train", "test"], "too few train rows to take one from"),
        ([("a", "x"), ("b", "x"), ("c", "z")], ["train", "validation", "test"], "no train row of class 'z'"),
    ],
)
def test_too_little_to_split_is_said(pairs: list, splits: list[str] | None, words: str | None) -> None:
    with pytest.raises(DataError, match=words or "too few train rows"):
        split_rows(_rows(pairs, splits), seed=0)


def test_all_rows_bad_names_the_first() -> None:
    with pytest.raises(DataError, match=r"all 2 are bad; first f\.csv line 2: expected a text"):
        split_rows(_rows([], bad=(BadRow("f.csv", 2, "a text"), BadRow("f.csv", 5, "a text"))), seed=0)


def test_slices_follow_their_rows() -> None:
    pairs = _balanced(40)
    rows = Rows(
        "set", "text", [t for t, _ in pairs], [y for _, y in pairs], "d", slices={"n": [t[5:] for t, _ in pairs]}
    )
    for split in split_rows(rows, seed=0).splits.values():
        assert [f"text {n}" for n in split.slices["n"]] == split.examples


def test_numbered_classes_are_in_the_order_of_their_numbers() -> None:
    numbered = split_rows(_rows([(f"t{i}", str(i % 12)) for i in range(48)]), seed=0)
    assert numbered.labels == tuple(str(i) for i in range(12))
    assert split_rows(_rows([(f"t{i}", ["b10", "b2"][i % 2]) for i in range(20)]), seed=0).labels == ("b10", "b2")


def test_records_arrays_and_bytes_are_folded_too() -> None:
    records = [{"user": str(i % 10), "age": 1.0} for i in range(20)]
    arrays = [np.full((2, 2), i % 10, dtype=np.uint8) for i in range(20)]
    for examples in (records, arrays, [bytes([i % 10]) for i in range(20)]):
        data = split_rows(Rows("set", "image", examples, [str(i % 10 % 2) for i in range(20)], "d"), seed=0)
        assert (data.counts["duplicates_folded"], data.counts["rows_used"]) == (10, 10)


def test_judging_uses_all_rows_but_those_seen_in_training() -> None:
    rows = _rows([*_balanced(10), ("text 1 ", "class 1")], ["train"] * 11)
    data = judge_rows(rows, seed=0, training_rows=hash_rows(["TEXT 2", "Text  3", "elsewhere"]))
    assert list(data.splits) == ["test"]
    assert sorted(data.split("test").examples) == [f"text {i}" for i in (0, 1, 4, 5, 6, 7, 8, 9)]
    assert (data.counts["seen_in_training"], data.counts["duplicates_folded"], data.counts["rows_used"]) == (2, 1, 8)
    assert "seen_in_training" not in judge_rows(rows, seed=0, training_rows=None).counts


def test_judging_on_nothing_but_training_rows_is_refused() -> None:
    rows = _rows(_balanced(4))
    with pytest.raises(DataError, match="every row of set was in the model's training data"):
        judge_rows(rows, seed=0, training_rows=hash_rows(rows.examples))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("dev", "validation"),
        (" VAL ", "validation"),
        ("valid", "validation"),
        ("Train", "train"),
        ("test", "test"),
        ("extra", None),
        (3, None),
    ],
)
def test_names_of_splits(word: object, name: str | None) -> None:
    assert split_name(word) == name
