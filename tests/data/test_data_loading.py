"""References resolve, and a row of training never judges, whatever seed is asked for later."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toolkit.data import Data, hash_rows
from toolkit.data.loading import data_for, load_data
from toolkit.errors import DataError
from toolkit.lineage import split_from_json
from toolkit.spec import Array


def _csv(path: Path, rows: range, *, label: str = "class {}") -> str:
    lines = ["text,label", *(f"text {row}," + label.format(row % 2) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _training_rows(data: Data) -> Array:
    return hash_rows(data.split("train").examples)


@pytest.fixture
def own(tmp_path: Path) -> str:
    return _csv(tmp_path / "own.csv", range(40))


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_the_record_wins_over_the_seed(own: str, seed: int) -> None:
    trained = load_data(own, seed=5)
    again = data_for(own, record=trained.record(), training_rows=_training_rows(trained), task="text", seed=seed)
    assert again.seed == 5
    assert again.record() == trained.record()
    assert not set(again.split("test").examples) & set(trained.split("train").examples)


def test_the_record_survives_the_artifact(own: str) -> None:
    trained = load_data(own, seed=5)
    record = split_from_json(trained.record().to_json())
    assert data_for(own, record=record, training_rows=None, task="text").record() == trained.record()


def test_a_known_set_is_split_again_by_its_record() -> None:
    trained = load_data("digits", seed=3)
    again = data_for("digits", record=trained.record(), training_rows=_training_rows(trained), task="image", seed=8)
    train = set(hash_rows(trained.split("train").examples).tolist())
    assert not train & set(hash_rows(again.split("test").examples).tolist())
    assert again.record() == trained.record()


def test_the_same_bytes_under_another_name_are_the_same_source(own: str, tmp_path: Path) -> None:
    trained = load_data(own, seed=5)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(Path(own).read_bytes())
    again = data_for(str(copy), record=trained.record(), training_rows=None, task="text", seed=0)
    assert again.record().digests == trained.record().digests


def test_a_split_that_comes_out_differently_is_refused(own: str) -> None:
    trained = load_data(own, seed=5)
    record = replace(trained.record(), digests={**trained.record().digests, "test": "0" * 64})
    with pytest.raises(DataError, match="its test split comes out differently than when it was trained"):
        data_for(own, record=record, training_rows=None, task="text")


def test_a_foreign_file_is_used_whole_without_training_rows(own: str, tmp_path: Path) -> None:
    trained = load_data(own, seed=5)
    foreign = _csv(tmp_path / "foreign.csv", range(20, 60))
    seen = {text for text in trained.split("train").examples if int(text.split()[1]) >= 20}
    data = data_for(
        foreign, record=trained.record(), training_rows=_training_rows(trained), task="text", labels=trained.labels
    )
    assert list(data.splits) == ["test"]
    assert data.counts["seen_in_training"] == len(seen) > 0
    assert set(data.split("test").examples) == {f"text {row}" for row in range(20, 60)} - seen


def test_a_changed_file_is_foreign_and_its_training_rows_are_still_left_out(own: str) -> None:
    trained = load_data(own, seed=5)
    with Path(own).open("a") as file:
        file.write("TEXT  1,class 1\nnew,class 0\n")
    data = data_for(own, record=trained.record(), training_rows=_training_rows(trained), task="text")
    assert not set(hash_rows(data.split("test").examples).tolist()) & set(_training_rows(trained).tolist())
    assert "new" in data.split("test").examples


def test_labels_follow_the_model(own: str, tmp_path: Path) -> None:
    trained = load_data(own)
    one_class = _csv(tmp_path / "one.csv", range(101, 140, 2))
    model = ("absent", "class 1", "class 0")
    data = data_for(one_class, record=trained.record(), training_rows=None, task="text", labels=model)
    assert data.labels == model
    assert set(data.split("test").labels.tolist()) == {1}
    mixed = data_for(own, record=trained.record(), training_rows=None, task="text", labels=model)
    for name, split in mixed.splits.items():
        words = [model[label] for label in split.labels]
        assert words == [trained.labels[label] for label in trained.split(name).labels]
    assert split.labels.dtype == np.int64


def test_a_label_the_model_does_not_know_is_named(own: str, tmp_path: Path) -> None:
    foreign = _csv(tmp_path / "f.csv", range(100, 120), label="kind {}")
    with pytest.raises(DataError, match="the label 'kind 0', which is none of this model's; allowed: class 0, class 1"):
        data_for(
            foreign, record=load_data(own).record(), training_rows=None, task="text", labels=("class 0", "class 1")
        )


def test_a_model_without_a_record_gets_a_split_to_calibrate_and_judge(own: str) -> None:
    data = data_for(own, record=None, training_rows=None, task="text", seed=4, labels=("class 1", "class 0"))
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.seed == 4
    assert data.split("test").examples == load_data(own, seed=4).split("test").examples


@pytest.mark.parametrize(
    ("reference", "options", "words"),
    [
        ("nothing", {}, "'nothing' is no known data set and no path that exists; known: trec, sms-spam"),
        ("nothing.csv", {}, r"a path: a file \.csv, \.tsv, .* from the hub: hub:NAME"),
        ("x" * 5000, {}, "cannot be read: File name too long"),
        ("trec", {"task": "image"}, "trec is a set for the task text, not image"),
        ("trec", {"task": "audio"}, "unknown task 'audio'; allowed: text, image, recommend"),
        ("trec", {"label": "x"}, "leave out --text and --label"),
        ("digits", {"slices": ["sex"]}, "digits has no slice 'sex'; it has: none"),
    ],
)
def test_what_cannot_be_resolved_says_what_is_allowed(reference: str, options: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_data(reference, **options)


def test_a_known_name_comes_before_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _csv(tmp_path / "digits.csv", range(20))
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train.csv").write_text((tmp_path / "digits.csv").read_text())
    assert load_data("digits").task == "image"
    assert load_data("./digits").task == "text"


def test_bad_rows_reach_the_data(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("text,label\n" + "\n".join(f"t{i},{i % 2}" for i in range(20)) + "\n,1\n")
    data = load_data(str(path))
    assert (data.counts["rows_read"], data.counts["bad_rows"]) == (21, 1)
    assert (data.bad_rows[0].file, data.bad_rows[0].line) == ("f.csv", 22)


def test_nothing_of_torch_or_transformers_is_imported(own: str) -> None:
    program = (
        "import sys; from toolkit.data.loading import load_data; load_data(sys.argv[1]); "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, own], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
