"""What the decision says of an answer whose INT8 scales come from the rows that run together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toolkit.commands.optimize import show
from toolkit.data.loading import load_data
from toolkit.judge.words import describe_quality
from toolkit.optimize import describe, optimize, weighing
from toolkit.optimize.budget import Budget
from toolkit.predictor import Predictor
from toolkit.train import train
from toolkit.train.recipes import default_recipe
from toolkit.train.saving import save_trained

pytest.importorskip("optuna", reason="the optimize extra is not installed")


def test_an_answer_with_dynamic_scales_is_judged_in_batches_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weighing, "P99_SAMPLES", 50)
    whole = load_data("trec")
    rows = {"train": 500, "validation": 60, "test": 500}
    data = replace(whole, splits={name: whole.split(name).take(range(count)) for name, count in rows.items()})
    recipe = replace(default_recipe("lstm"), epochs=2, learning_rate=5e-3, threads=1, precision="fp32")
    trained = train(data, net="lstm", sizes={"width": 64, "hidden": 64, "vocabulary": 2000}, recipe=recipe)
    (tmp_path / "came").mkdir()
    came = save_trained(trained.classifier, data, tmp_path / "came")
    # the smallest form of an lstm is dynamic INT8
    budget = Budget(max_drop=0.5, hours=0.01, objective="size", caution=0.0)
    for stale in ("smallest/large", "pareto/t99-int8"):  # what an earlier end of the search left
        (tmp_path / "found" / stale).mkdir(parents=True)
        (tmp_path / "found" / stale / "artifact.json").write_text("{}")
    found = optimize(came, data, tmp_path / "found", budget, space={"quantize": {}})
    assert not (tmp_path / "found" / "pareto" / "t99-int8").exists()
    document = json.loads(json.dumps(describe(found, budget, {}), allow_nan=False))
    answer = document["answers"]["smallest"]
    assert answer["plan"] == "quantize int8-table4"
    together = answer["report"]["difference"]["in_batches"]
    assert (together["rows"], together["batch_size"]) == (500, 32)

    test = data.split("test")
    with Predictor.load(tmp_path / "found" / "smallest") as predictor:
        apart = predictor.logits(test.examples)
        predictor.batch_size = 32
        joined = predictor.logits(test.examples)
    assert not np.array_equal(apart, joined), "neighbours move an answer, or there is nothing to tell"
    alone, batched = apart.argmax(axis=1), joined.argmax(axis=1)
    assert together["accuracy"] == pytest.approx(float((batched == test.labels).mean()))
    assert together["labels_moved"] == int(np.sum(alone != batched))
    assert answer["report"]["test"]["accuracy"]["value"] == pytest.approx(float((alone == test.labels).mean()))
    quality = next(a.quality for a in found.decision.answers if a.role == "smallest")
    lines = [line for line in describe_quality(quality) if line.startswith("in batches")]
    assert lines == [
        f"in batches   of 32: accuracy {100 * together['accuracy']:.2f} %, {together['labels_moved']} of 500 labels "
        "moved against one row at a time"
    ]
    show(found, budget, tmp_path / "found")
    assert f"smallest in batches {lines[0].removeprefix('in batches   ')}" in capfd.readouterr().err
    assert "in_batches" not in document["reference"].get("difference", {}), "fp32 is moved by no neighbour"
