"""`toolkit quantize` as a user types it: modes, mixed precision, the audit, and what is refused in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.data.loading import load_data


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported classifier beside the questions.csv that it was trained on."""
    folder = tmp_path_factory.mktemp("quantize")
    data = load_data("trec")
    train = data.split("train")
    with (folder / "questions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([train.examples[row], data.labels[train.labels[row]]] for row in range(600))
    (folder / "recipe.toml").write_text("epochs = 4\nthreads = 1\n")
    trained = str(folder / "mlp")
    recipe = ["--recipe", str(folder / "recipe.toml")]
    questions = str(folder / "questions.csv")
    assert run(["train", "text", "--data", questions, "--net", "mlp", *recipe, "-o", trained]) == 0
    assert run(["export", trained, "-o", f"{trained}-onnx"]) == 0
    return Path(f"{trained}-onnx")


def say(capfd: pytest.CaptureFixture[str], model: Path, out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON document, and what was said to the user."""
    capfd.readouterr()
    code = run(["quantize", str(model), *options, "-o", str(out), "--json"])
    said, words = capfd.readouterr()
    assert "Traceback" not in words
    return code, json.loads(said) if said.strip() else {}, words


def data_of(model: Path) -> list[str]:
    return ["--data", str(model.parent / "questions.csv")]


@pytest.mark.parametrize(("options", "precision"), [(["--mode", "weights"], "int8"), (["--mode", "fp16"], "fp16")])
def test_small_weights_need_no_data_and_say_what_they_buy(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], precision: str
) -> None:
    code, document, words = say(capfd, model, tmp_path / "small", *options)
    assert code == 0, words
    assert "buys size, not time, on a CPU" in words
    assert load_artifact(tmp_path / "small").core.precision == precision
    assert document["after"]["size_bytes"] < load_artifact(model).size_bytes


def test_mixed_precision_names_what_is_back_in_float(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--mixed", "--max-drop", "0.05", "--rows", "32"]
    code, document, words = say(capfd, model, tmp_path / "mixed", *data_of(model), *options)
    assert code == 0, words
    assert "back to float:" in words
    settings = load_artifact(tmp_path / "mixed").core.steps[-1].settings
    assert settings["mixed"]["drop"] <= 0.05
    assert document["folder"] == str(tmp_path / "mixed")


def test_the_audit_is_printed_and_kept(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--audit", "--rows", "32", "--target", "tensorrt", "--smooth", "0.5"]
    code, _, words = say(capfd, model, tmp_path / "audited", *data_of(model), *options)
    assert code == 0, words
    assert "largest clipped share" in words
    assert json.loads((tmp_path / "audited/evidence/calibration.json").read_text())["rows"] == 32
    assert load_artifact(tmp_path / "audited").core.steps[-1].settings["target"] == "tensorrt"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mixed"], "--mixed and --max-drop go together"),
        (["--mode", "dynamic", "--audit"], "--audit is of the rows that --mode static calibrates on"),
        (["--mode", "dynamic", "--smooth", "0.5"], "calibrates on training rows; add --data"),
        (["--mode", "dynamic", "--target", "tensorrt"], "mode dynamic makes no graph for tensorrt"),
        (["--mode", "weights", "--keep-float", "nothing"], "keep_float names 'nothing', which mode weights does not"),
        (["--mode", "static", "--bits", "4"], "bits is 4, which is for mode weights"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    code, _, said = say(capfd, model, tmp_path / "none", *options)
    assert code == 2
    assert words in said
    assert len([line for line in said.splitlines() if line.startswith("error")]) <= 1
    assert not (tmp_path / "none").exists()
