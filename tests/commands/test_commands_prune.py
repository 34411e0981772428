"""`toolkit prune`: masks say what they do not buy, and what does not go together is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run


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


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--mask", "2:4", "--rounds", "2"], "--mask 2:4 cuts nothing"),
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
