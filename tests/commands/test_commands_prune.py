"""`toolkit prune`: masks say what they do not buy, and what does not go together is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.data.loading import load_data


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prune")
    (folder / "recipe.toml").write_text("epochs = 1\nthreads = 1\n")
    recipe = ["--recipe", str(folder / "recipe.toml")]
    assert run(["train", "image", "--data", "digits", "--net", "cnn", *recipe, "-o", str(folder / "model")]) == 0
    return folder / "model"


def _prune(model: Path, out: Path, *words: str) -> int:
    return run(["prune", str(model), "--data", "digits", "--recover", "0", *words, "-o", str(out)])


def test_a_mask_is_made_and_said_to_buy_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _prune(model, tmp_path / "masked", "--keep", "0.5", "--mask", "2:4") == 0
    assert "a mask alone buys nothing on ONNX Runtime" in " ".join(capsys.readouterr().err.split())
    made = load_artifact(tmp_path / "masked")
    assert [step.name for step in made.core.steps] == ["train", "mask"]
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (model, tmp_path / "masked")]
    assert sizes[0] == sizes[1]


def test_a_cnn_is_cut_by_macs(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _prune(model, tmp_path / "cut", "--keep", "0.5", "--by", "macs") == 0
    capsys.readouterr()
    made = load_artifact(tmp_path / "cut").core
    assert made.steps[-1].settings["by"] == "macs"
    assert made.net is not None
    assert made.net["sizes"]["stages"][0] < load_artifact(model).core.net["sizes"]["stages"][0]  # type: ignore[index]


def test_a_token_table_is_factorized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = load_data("trec").split("train")
    rows = [json.dumps({"text": train.examples[row], "label": f"kind {train.labels[row]}"}) for row in range(300)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "recipe.toml").write_text("epochs = 1\nthreads = 1\n")
    data = ["--data", str(tmp_path / "rows.jsonl"), "--recipe", str(tmp_path / "recipe.toml")]
    assert run(["train", "text", *data, "--net", "transformer", "-o", str(tmp_path / "model")]) == 0
    words = ["prune", str(tmp_path / "model"), *data, "--keep", "1.0", "--embedding"]
    assert run([*words, "32", "--recover", "1", "-o", str(tmp_path / "small")]) == 0
    before, made = load_artifact(tmp_path / "model"), load_artifact(tmp_path / "small")
    settings = made.core.steps[-1].settings
    assert (settings["embedding"], settings["sizes"]["embedding"], settings["recover"]) == (32, 32, 1)
    assert made.core.net is not None
    assert made.core.net["sizes"]["embedding"] == 32
    assert made.size_bytes < before.size_bytes
    capsys.readouterr()
    assert run([*words, "128", "-o", str(tmp_path / "whole")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "embedding is 128; allowed: 1 to 127, less than the width of 128" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--mask", "2:4", "--rounds", "2"], "--mask 2:4 cuts nothing"),
        (["--mask", "2:4", "--by", "macs"], "--rounds and --by"),
        (["--mask", "2:4", "--embedding", "96"], "leave out --layers, --width, --embedding, --rounds and --by"),
        (["--embedding", "96"], "embedding is 96; a cnn has no token table, leave embedding out"),
        (["--by", "latency"], "--by latency measures the parts of a transformer; this is a cnn"),
        (["--width", "8"], "width is 8; the stages of a cnn are cut by keep"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: list[str], reason: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _prune(model, tmp_path / "out", "--keep", "0.5", *words) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
