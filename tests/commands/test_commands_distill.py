"""`toolkit distill`: sizes and transfer set from the command line, and what goes with which student."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.data.loading import load_data

NARROW = ["--net", "transformer", "--layers", "1", "--width", "64", "--heads", "2", "--feed-forward", "128"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of TREC as a file, a teacher trained on them, and a recipe of one epoch."""
    folder = tmp_path_factory.mktemp("distill")
    train = load_data("trec").split("train")
    with (folder / "rows.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["text", "label"])
        written.writerows((train.examples[row], f"kind {train.labels[row]}") for row in range(400))
    (folder / "recipe.toml").write_text("epochs = 1\nthreads = 1\n")
    arguments = ["train", "text", "--data", str(folder / "rows.csv"), "--net", "transformer"]
    assert run([*arguments, "--recipe", str(folder / "recipe.toml"), "-o", str(folder / "teacher")]) == 0
    return folder


def distilled(workplace: Path, *options: str, out: Path) -> int:
    data = ["--data", str(workplace / "rows.csv"), "--recipe", str(workplace / "recipe.toml")]
    return run(["distill", str(workplace / "teacher"), *data, *options, "-o", str(out)])


def step_of(folder: Path) -> dict[str, Any]:
    return dict(load_artifact(folder).core.steps[-1].settings)


def test_a_narrow_transformer_begins_as_its_teacher(workplace: Path, tmp_path: Path) -> None:
    assert distilled(workplace, *NARROW, "--relations", "--copies", "1", out=tmp_path / "narrow") == 0
    settings = step_of(tmp_path / "narrow")
    sizes = settings["student"]["sizes"]
    assert (sizes["width"], sizes["heads"], sizes["feed_forward"]) == (64, [2], [128])
    assert settings["hidden"] is True  # the default of a student that has its teacher's layers
    assert settings["relations"] is True
    assert settings["copies"] == 1
    assert settings["inherited"]["layers"] == [1]


def test_a_textcnn_learns_from_a_file_of_texts(workplace: Path, tmp_path: Path) -> None:
    with (workplace / "rows.csv").open() as file:
        known = next(csv.DictReader(file))["text"]
    (tmp_path / "more.txt").write_text(f"Who built the bridge over that river ?\n{known}\nWhere do the storks go ?\n")
    options = ["--net", "textcnn", "--width", "16", "--hidden-size", "8", "--unlabeled", str(tmp_path / "more.txt")]
    assert distilled(workplace, *options, out=tmp_path / "student") == 0
    settings = step_of(tmp_path / "student")
    assert settings["student"]["sizes"]["filters"] == [8, 8, 8]
    assert settings["unlabeled"] == 2
    assert sum(settings["unlabeled_dropped"].values()) == 1
    assert settings["copies"] == 2  # of texts, unless said otherwise
    assert run(["export", str(tmp_path / "student"), "-o", str(tmp_path / "onnx")]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--net", "lstm", "--feed-forward", "8"], "a lstm has no feed-forward; leave --feed-forward out"),
        (["--net", "transformer", "--hidden-size", "8"], "a transformer has no hidden-size"),
        (["--net", "mlp", "--heads", "2"], "a mlp has no heads; leave --heads out, it is of: transformer"),
        (["--net", "textcnn", "--layers", "2"], "layers are of a transformer"),
        (["--net", "lstm", "--relations"], "attention relations go from a trained transformer to a transformer"),
    ],
)
def test_what_a_student_does_not_have_is_refused(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert distilled(workplace, *options, out=tmp_path / "never") == 2
    assert said in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pictures_have_copies_and_no_file_of_texts(
    tmp_path: Path, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = ["--recipe", str(workplace / "recipe.toml")]
    model, out = str(tmp_path / "model"), tmp_path / "student"
    assert run(["train", "image", "--data", "digits", "--net", "cnn", *recipe, "-o", model]) == 0
    command = ["distill", model, "--data", "digits", "--net", "cnn", *recipe]
    assert run([*command, "--epochs", "1", "--copies", "1", "-o", str(out)]) == 0
    assert step_of(out)["copies"] == 1
    (tmp_path / "texts.txt").write_text("A text\n")
    assert run([*command, "--unlabeled", str(tmp_path / "texts.txt"), "-o", str(tmp_path / "never")]) == 2
    assert "--unlabeled is a file of texts, and this model takes image data" in capfd.readouterr().err
