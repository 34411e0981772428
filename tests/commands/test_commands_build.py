"""`toolkit build` as a user types it on a machine without a GPU: the artifact, and what is said of the engine."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_models import LABELS, held_out, make_artifact

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.commands.build import judge_graph
from toolkit.data import Data
from toolkit.data.loading import load_data
from toolkit.engines.order import Order
from toolkit.errors import GateError
from toolkit.export.lint import lint_artifact
from toolkit.predictor import Predictor
from toolkit.runners.fresh_engine import can_build


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported textcnn beside the questions.csv that it was trained on."""
    folder = tmp_path_factory.mktemp("build")
    data = load_data("trec")
    train = data.split("train")
    with (folder / "questions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([train.examples[row], data.labels[train.labels[row]]] for row in range(600))
    (folder / "recipe.toml").write_text("epochs = 8\nthreads = 1\n")
    trained = str(folder / "textcnn")
    recipe = ["--recipe", str(folder / "recipe.toml")]
    assert (
        run(["train", "text", "--data", str(folder / "questions.csv"), "--net", "textcnn", *recipe, "-o", trained]) == 0
    )
    assert run(["export", trained, "-o", f"{trained}-onnx"]) == 0
    return Path(f"{trained}-onnx")


def say(capfd: pytest.CaptureFixture[str], model: Path, out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON document, and what was said to the user."""
    capfd.readouterr()
    code = run(["build", str(model), *options, "-o", str(out), "--json"])
    said, words = capfd.readouterr()
    assert "Traceback" not in words
    return code, json.loads(said) if said.strip() else {}, words


def data_of(model: Path) -> list[str]:
    return ["--data", str(model.parent / "questions.csv")]


def test_without_a_gpu_it_stops_before_any_work_and_names_the_way_on(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if can_build(load_artifact(model)):
        pytest.skip("this machine has a GPU and TensorRT")
    code, _, words = say(capfd, model, tmp_path / "fp16", *data_of(model))
    assert code == 2
    assert "add --no-engine" in words
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8", "fp8"])
def test_the_artifact_answers_anywhere_and_asks_for_its_engine(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], precision: str
) -> None:
    out = tmp_path / precision
    code, document, words = say(
        capfd, model, out, *data_of(model), "--precision", precision, "--no-engine", "--max-batch", "64"
    )
    assert code == 0, words
    made, came = load_artifact(out), load_artifact(model)
    made.verify()
    assert made.core.precision == precision
    assert made.core.parent == came.digest
    assert document["engine"] is None
    assert document["quality"]["verdict"]["failed"] is False
    assert "verdict" in words
    assert "builds one beside its work" in words
    order = Order.of(made)
    assert order.flags.tf32 is (precision == "tf32")
    assert [profile.ranges["input_ids"].most[0] for profile in order.profiles] == [1, 64]
    usual = [profile.ranges["input_ids"].best[1] for profile in order.profiles]
    assert 1 < usual[0] < usual[1] < came.spec.limits["length"][1], "the lengths of the data, not those of the spec"
    assert not [remark for remark in lint_artifact(made) if remark.refused]
    texts = load_data("trec").split("test").examples[:60]
    with Predictor.load(came) as before, Predictor.load(made) as after:
        expected, found = before.logits(texts), after.logits(texts)
    assert (expected.argmax(1) == found.argmax(1)).mean() >= (0.9 if precision in ("int8", "fp8") else 0.98)
    if precision in ("fp32", "tf32"):
        assert np.array_equal(expected, found)
    else:
        assert made.size_bytes < 0.75 * came.size_bytes


def test_sensitivity_says_which_kinds_move_the_answers(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, document, words = say(capfd, model, tmp_path / "fp16", *data_of(model), "--no-engine", "--rows", "32")
    assert code == 0, words
    moved = document["build"]["sensitivity"]
    assert {"Conv", "Gemm"} & set(moved) or {"MatMul"} & set(moved)
    assert all(value < 1e-3 for value in moved.values()), "fp16 rounds a trained net's answers by little"
    assert document["build"]["kept_float"] == [kind for kind, value in moved.items() if value >= 1e-4]


def test_products_are_put_back_until_the_drop_holds(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, document, words = say(
        capfd, model, tmp_path / "fp8", *data_of(model), "--precision", "fp8", "--mixed", "--max-drop", "0.02",
        "--no-engine",
    )  # fmt: skip
    assert code == 0, words
    built = document["build"]
    assert built["drop"] <= 0.02
    assert built["products"] + len(built["put_back"]) >= 1
    assert "back to fp16:" in words


def test_a_precision_that_loses_too_much_is_a_gate(tmp_path: Path) -> None:
    """A model of twenty training rows in the place of what a precision left of one of a thousand."""
    split = held_out()
    data = Data("digits", "image", LABELS, {"test": split}, seed=0, source="0" * 64)
    whole, poor = (make_artifact(tmp_path / str(rows), training_rows=rows) for rows in (1000, 20))
    assert judge_graph(whole, whole, data, max_drop=0.01) is not None
    with pytest.raises(GateError, match=r"in fp32 the model is not as good: .*worse"):
        judge_graph(poor, whole, data, max_drop=0.01)
    assert judge_graph(poor, whole, None, max_drop=0.01) is None, "without rows nothing is claimed"


def test_bf16_is_written_and_judged_where_it_can_run(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, words = say(capfd, model, tmp_path / "bf16", *data_of(model), "--precision", "bf16", "--no-engine")
    assert code == 0, words
    made = load_artifact(tmp_path / "bf16")
    assert made.core.precision == "bf16"
    assert not [remark for remark in lint_artifact(made) if remark.refused]


def test_sparse_weights_are_in_the_lineage(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, document, words = say(capfd, model, tmp_path / "sparse", *data_of(model), "--sparse", "--no-engine")
    assert code == 0, words
    assert sum(document["build"]["two_four"].values()) >= 1
    assert Order.of(load_artifact(tmp_path / "sparse")).flags.sparse


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "int4"], "'int4' is not one of"),
        (["--precision", "fp8", "--no-engine"], "takes its scales from training rows; add --data"),
        (["--mixed", "--no-engine"], "--precision fp16 has none"),
        (["--max-batch", "0"], "0 is not in the range"),
        (["--level", "9"], "9 is not in the range"),
        (["--keep-float", "nowhere", "--no-engine"], "keep_float names 'nowhere'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    code, _, said = say(capfd, model, tmp_path / "out", *options)
    assert code == 2
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_what_was_built_is_not_built_again(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say(capfd, model, tmp_path / "fp16", "--no-engine")[0] == 0
    code, _, words = say(capfd, tmp_path / "fp16", tmp_path / "again", "--no-engine")
    assert code == 2
    assert "give the fp32 folder of toolkit export" in words
