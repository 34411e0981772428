"""`toolkit quantize-aware` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run


def test_a_trained_cnn_becomes_an_int8_artifact(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, out = str(tmp_path / "digits"), str(tmp_path / "digits-aware")
    (tmp_path / "recipe.toml").write_text("threads = 1\nlearning_rate = 2e-4\nprecision = 'fp32'\n")
    recipe = ["--epochs", "1", "--recipe", str(tmp_path / "recipe.toml")]
    assert run(["train", "image", "--data", "digits", "--net", "cnn", *recipe, "-o", model]) == 0
    capfd.readouterr()
    arguments = ["quantize-aware", model, "--data", "digits", *recipe]
    assert run([*arguments, "-o", out, "--json"]) == 0
    found, said = capfd.readouterr()
    document = json.loads(found)
    assert document["folder"] == out
    assert document["after"]["size_bytes"] < 0.5 * document["before"]["size_bytes"]
    assert "without rounding, median" in said
    artifact = load_artifact(out)
    artifact.verify()
    assert (artifact.name, artifact.core.precision) == ("digits-aware", "int8")
    assert (tmp_path / "digits-aware/evidence/log.csv").is_file()
    assert not (tmp_path / "digits-aware/training").exists()
    assert run([*arguments, "-o", out]) == 2, "it must not exist"
