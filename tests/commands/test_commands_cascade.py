"""`toolkit cascade`, from two trained models to a folder that check, verify and bench take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two cnns of digits, trained on the same rows for one epoch and for two, as ONNX."""
    folder = tmp_path_factory.mktemp("members")
    for name, epochs in (("small", 1), ("large", 2)):
        (folder / "recipe.toml").write_text(f"epochs = {epochs}\nthreads = 1\n")
        model = str(folder / name)
        recipe = ["--recipe", str(folder / "recipe.toml")]
        assert run(["train", "image", "--data", "digits", "--net", "cnn", *recipe, "-o", model]) == 0
        assert run(["export", model, "-o", f"{model}-onnx"]) == 0
    return str(folder / "small-onnx"), str(folder / "large-onnx")


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    capfd.readouterr()
    code = run([*arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, json.loads(out) if out.strip() else {}, err


def test_the_line_of_a_cascade(models: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "both")
    code, document, words = say(capfd, "cascade", *models, "--data", "digits", "-o", out)
    assert code == 0, words
    assert document["after"]["split"] == "validation"
    router = load_artifact(out).core.router
    assert router is not None
    assert router.within_budget
    assert document["after"]["difference"]["accuracy"]["value"] >= -0.005 - 1e-9
    assert document["after"]["latency"]["mean_ms"] > 0
    assert "of validation rows deferred" in words
    assert [line.split()[0] for line in words.splitlines() if " ms" in line][:3] == ["p50", "mean", "p99"]
    code, document, _ = say(capfd, "check", out)
    assert (code, document["whole"]) == (0, True)
    assert document["runs_on"]["router"]["threshold"] == router.threshold
    code, report, words = say(capfd, "verify", models[1], out, "--data", "digits", "--max-drop", "0.1")
    assert code == 0, words
    assert report["split"] == "test"
    code, document, words = say(
        capfd, "bench", models[1], out, "--data", "digits", "--seconds", "0.3", "--rounds", "2"
    )  # fmt: skip
    assert code == 0, words
    assert "mean ms" in words
    assert document["reports"][1]["latency"]["runtime"]["members"]["small"]["threads"] == 1
    assert run(["cascade", *models, "--data", "digits", "-o", out]) == 2, "it stands there already"


def test_a_share_is_taken_at_its_word(models: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "both"
    assert run(["cascade", *models, "--data", "digits", "--share", "0.25", "-o", str(out)]) == 0
    router = load_artifact(out).core.router
    assert router is not None
    assert router.share == pytest.approx(0.25, abs=0.02)


def test_what_cannot_be_is_refused_in_one_line(
    models: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ["--data", "digits", "-o", str(tmp_path / "both")]
    code, _, words = say(capfd, "cascade", *models, *out, "--share", "0.2", "--max-drop", "0.01")
    assert code == 2
    assert "give one of them" in words
    trained = models[0].removesuffix("-onnx")
    code, _, words = say(capfd, "cascade", trained, models[1], *out)
    assert code == 2
    assert "run toolkit export first" in words
    code, _, words = say(capfd, "cascade", *models, "--data", "trec", "-o", str(tmp_path / "both"))
    assert code == 2
    assert not list(tmp_path.glob("both*"))
