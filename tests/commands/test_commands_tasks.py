"""Pictures and records go the same way as texts: train, export, quantize, package, by the same commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.cli import run

RATINGS = "user,item,age,label\n" + "".join(
    f"u{row % 17},i{row % 23},{20 + row % 40},{'like' if (row * 7) % 23 > 11 else 'dislike'}\n" for row in range(400)
)


@pytest.mark.parametrize(("task", "net"), [("image", "cnn"), ("recommend", "recommender")])
def test_the_line_of_a_task(task: str, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    (tmp_path / "recipe.toml").write_text("epochs = 1\nthreads = 1\n")
    (tmp_path / "ratings.csv").write_text(RATINGS)
    data = "digits" if task == "image" else str(tmp_path / "ratings.csv")
    model = str(tmp_path / "model")
    recipe = ["--recipe", str(tmp_path / "recipe.toml")]
    assert run(["train", task, "--data", data, "--net", net, *recipe, "-o", model]) == 0
    assert run(["export", model, "-o", f"{model}-onnx"]) == 0
    assert run(["quantize", f"{model}-onnx", "--data", data, "--rows", "64", "-o", f"{model}-int8"]) == 0
    assert run(["check", f"{model}-int8"]) == 0
    assert run(["package", f"{model}-int8", "--name", "line"]) == 0
    report = json.loads((tmp_path / "model-int8/evidence/report.json").read_text())
    assert report["split"] == "validation"
    assert 0.0 < report["validation"]["accuracy"]["value"] <= 1.0
    assert (tmp_path / "bentoml/bentos/line").is_dir()


def test_a_cnn_is_pruned_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("epochs = 1\nthreads = 1\n")
    model, recipe = str(tmp_path / "model"), ["--recipe", str(tmp_path / "recipe.toml")]
    assert run(["train", "image", "--data", "digits", "--net", "cnn", *recipe, "-o", model]) == 0
    pruned = ["prune", model, "--data", "digits", "--keep", "0.5", "--recover", "1", *recipe, "-o", f"{model}-pruned"]
    assert run(pruned) == 0
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("model", "model-pruned")]
    assert sizes[1] < sizes[0]
