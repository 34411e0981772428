"""A model whose scales come from the batch is judged alone and in batches; others are judged once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from toolkit.compress.quantize import quantize
from toolkit.compress.scheme import Scheme
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.export.onnx import export
from toolkit.judge.batching import BATCH_SIZE, in_batches
from toolkit.judge.quality import judge
from toolkit.judge.words import describe_quality
from toolkit.predictor import Predictor
from toolkit.train import train
from toolkit.train.recipes import default_recipe

ROWS = {"train": 400, "validation": 60, "test": 200}


@pytest.fixture(scope="module")
def trec() -> Data:
    whole = load_data("trec")
    return replace(whole, splits={name: whole.split(name).take(range(rows)) for name, rows in ROWS.items()})


@pytest.fixture(scope="module")
def lstm(trec: Data, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Predictor, Predictor]]:
    """A small lstm in fp32 and in dynamic INT8."""
    folder = tmp_path_factory.mktemp("batching")
    recipe = replace(default_recipe("lstm"), epochs=3, threads=1, precision="fp32")
    sizes = {"width": 64, "hidden": 64, "vocabulary": 2000}
    classifier = train(trec, net="lstm", sizes=sizes, recipe=recipe).classifier
    for name in ("fp32", "int8"):
        (folder / name).mkdir()
    exported, _ = export(classifier, folder / "fp32", examples=trec.split("validation").examples)
    quantize(exported, folder / "int8", Scheme("dynamic"))
    with Predictor.load(folder / "fp32") as before, Predictor.load(folder / "int8") as after:
        yield before, after


def test_a_dynamic_artifact_is_judged_in_batches_too(trec: Data, lstm: tuple[Predictor, Predictor]) -> None:
    before, after = lstm
    split = trec.split("test")
    quality = judge(before, after, split, max_drop=0.5)
    together = quality.in_batches
    assert together is not None
    # counted by hand: rows of like size share a run
    sizes = [after.encoder.size(example) for example in split.examples]
    order = np.argsort(sizes, kind="stable")
    answers = np.empty(len(split), dtype=np.int64)
    for start in range(0, len(split), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        arrays = after.encoder.encode([split.examples[row] for row in rows])
        answers[rows] = after.runner.run(arrays).argmax(axis=1)
    alone = after.logits(split.examples).argmax(axis=1)
    assert together.labels_moved == int((answers != alone).sum())
    assert together.accuracy == pytest.approx(float((answers == split.labels).mean()))
    assert (together.rows, together.batch_size) == (200, 32)
    assert quality.to_json()["difference"]["in_batches"] == together.to_json()
    assert sum(line.startswith("in batches   of 32: accuracy") for line in describe_quality(quality)) == 1
    assert after.batch_size == 1, "the predictor goes on answering one row at a time"


def test_neighbours_do_move_its_logits(trec: Data, lstm: tuple[Predictor, Predictor]) -> None:
    _, after = lstm
    examples = trec.split("test").examples
    assert not np.array_equal(in_batches(after, BATCH_SIZE).logits(examples), after.logits(examples))


def test_others_are_judged_once(trec: Data, lstm: tuple[Predictor, Predictor]) -> None:
    before, after = lstm
    quality = judge(after, before, trec.split("test"), max_drop=0.5)
    assert quality.in_batches is None
    assert "in_batches" not in quality.to_json()["difference"]
    assert not any(line.startswith("in batches") for line in describe_quality(quality))
