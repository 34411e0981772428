"""`toolkit optimize` as a user types it: a folder of answers, a clear line for each bad input, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.data.loading import load_data
from toolkit.optimize import decision, weighing
from toolkit.optimize.effort import EFFORTS, Effort
from toolkit.train import train
from toolkit.train.recipes import Recipe
from toolkit.train.saving import save_trained

pytest.importorskip("optuna", reason="the optimize extra is not installed")
pytest.importorskip("matplotlib", reason="the optimize extra is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, folder = load_data("digits"), tmp_path_factory.mktemp("optimize-command") / "model"
    folder.mkdir()
    sizes = {"channels": 1, "stages": (16, 32), "inner": ((32,), (64,))}
    recipe = Recipe(epochs=2, batch_size=64, learning_rate=2e-3, threads=1, precision="fp32")
    save_trained(train(data, net="cnn", sizes=sizes, recipe=recipe).classifier, data, folder)
    return folder


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "short", Effort(dict.fromkeys(EFFORTS["short"].epochs, 1), 0, 0))
    monkeypatch.setitem(EFFORTS, "long", Effort(dict.fromkeys(EFFORTS["long"].epochs, 1), 1, 1))
    monkeypatch.setattr(decision, "SECONDS", 0.3)
    monkeypatch.setattr(decision, "ROUNDS", 2)
    monkeypatch.setattr(weighing, "SECONDS", 0.2)


@pytest.mark.usefixtures("_quick")
def test_a_budget_in_and_the_best_model_out(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found"
    code = run(["optimize", str(model), "--data", "digits", "--max-drop", "0.2", "--hours", "0.005", "--threads", "1",
                "-o", str(out), "--json"])  # fmt: skip
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert code == (
        1 if document["answers"]["best"]["misses"] or document["answers"]["best"]["report"]["verdict"]["failed"] else 0
    )
    assert document == {"folder": str(out), **json.loads((out / "report.json").read_text())}
    for role in ("best", "fastest", "smallest"):
        assert load_artifact(out / role).digest == document["answers"][role]["digest"]
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "pareto.svg").read_text()
    assert len((out / "trials.jsonl").read_text().splitlines()) == document["trials"]
    assert "as it came" in printed.err
    assert "best so far" in printed.err
    assert not out.with_name("found.partial").exists()


def test_dry_run_shows_the_space_and_does_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    assert run(["optimize", str(model), "--data", "digits", "--dry-run", "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert "prune: keep" in said
    assert "by ('weights', 'macs')" in said
    assert "13 plans" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-drop", "1.5"], "max_drop is 1.5"),
        (["--max-p99", "5"], "'5' is not a time like 5ms"),
        (["--max-size", "small"], "'small' is not a size like 20MB"),
        (["--hours", "0"], "hours is 0"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster answers"),
        (["--max-drop", "0.001"], "validation rows cannot tell a drop of 0.001"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_left(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    out = tmp_path / "found"
    assert run(["optimize", str(model), "--data", "digits", "-o", str(out), *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("toolkit:")]
    assert len(lines) == 1
    assert words in lines[0]
    assert not list(tmp_path.iterdir())


def test_data_of_other_labels_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", str(model), "--data", "sms-spam", "-o", str(tmp_path / "found")]) == 2
    assert "toolkit:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "found").mkdir()
    assert run(["optimize", str(model), "--data", "digits", "-o", str(tmp_path / "found")]) == 2
    assert "exists already" in capsys.readouterr().err
