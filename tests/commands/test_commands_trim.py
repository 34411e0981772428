"""`toolkit trim` and `toolkit temperature`: from a trained text classifier to a smaller one whose scores are honest."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.commands import finishing
from toolkit.data.loading import load_data

ROWS = 500


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of TREC under names of their own, an lstm and an mlp trained on them."""
    folder = tmp_path_factory.mktemp("trim")
    train = load_data("trec").split("train")
    with (folder / "rows.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["question", "kind"])
        written.writerows((train.examples[row], f"kind {train.labels[row]}") for row in range(ROWS))
    (folder / "recipe.toml").write_text("epochs = 2\nthreads = 1\n")
    for net in ("lstm", "mlp"):
        arguments = ["train", "text", *data_of(folder), "--net", net, "--recipe", str(folder / "recipe.toml")]
        assert run([*arguments, "-o", str(folder / net)]) == 0
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards are timed for a moment only: what they say of time is not asked here."""
    monkeypatch.setattr(finishing, "SECONDS", 0.05)


def data_of(folder: Path) -> list[str]:
    return ["--data", str(folder / "rows.csv"), "--text", "question", "--label", "kind"]


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, what was said to the user, the JSON document."""
    capfd.readouterr()
    code = run([*arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, err, json.loads(out) if out.strip() else {}


def test_a_trimmed_model_is_smaller_and_exports_without_examples(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["trim", str(workplace / "lstm"), *data_of(workplace), "--floor", "3", "-o"]
    code, words, document = said(capfd, *arguments, str(tmp_path / "small"))
    assert code == 0, words
    small, large = load_artifact(tmp_path / "small"), load_artifact(workplace / "lstm")
    settings = small.core.steps[-1].settings
    assert settings["floor"] == 3
    assert small.core.net is not None
    assert small.core.net["sizes"]["vocabulary"] == settings["pieces"] < settings["pieces_before"]
    assert f"{settings['pieces']:,} of {settings['pieces_before']:,} pieces kept" in words
    assert f"{settings['validation']['pieces_missing']:.2%} of the pieces of validation rows" in words
    assert small.name == "small"
    assert small.core.parent == large.digest
    assert document["after"]["size_bytes"] < document["before"]["size_bytes"]
    assert run(["export", str(tmp_path / "small"), "-o", str(tmp_path / "onnx")]) == 0
    assert run([*arguments, str(tmp_path / "again" / "small")]) == 0
    assert load_artifact(tmp_path / "again" / "small").digest == small.digest


def test_common_pieces_stay_where_it_is_asked(workplace: Path, tmp_path: Path) -> None:
    arguments = ["trim", str(workplace / "lstm"), *data_of(workplace), "--floor", "3"]
    assert run([*arguments, "-o", str(tmp_path / "few")]) == 0
    assert run([*arguments, "--common", "400", "-o", str(tmp_path / "more")]) == 0
    few, more = (load_artifact(tmp_path / name).core.steps[-1].settings for name in ("few", "more"))
    assert (few["common"], more["common"]) == (0, 400)
    assert few["pieces"] < more["pieces"] < more["pieces_before"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("more.txt", "quixotic zebras\nquixotic zebras\n"), ("more.tsv", "question\tn\nquixotic zebras\t1\nzebras\t2\n")],
)
def test_unlabeled_texts_are_counted(workplace: Path, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    arguments = ["trim", str(workplace / "lstm"), *data_of(workplace), "--unlabeled", str(tmp_path / name)]
    assert run([*arguments, "-o", str(tmp_path / "small")]) == 0
    assert load_artifact(tmp_path / "small").core.steps[-1].settings["unlabeled"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--unlabeled", "nowhere.txt"], "nowhere.txt does not exist; give a .txt file with one text a line"),
        (["--floor", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_options_get_one_line(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    out = tmp_path / "small"
    code, err, _ = said(capfd, "trim", str(workplace / "lstm"), *data_of(workplace), *options, "-o", str(out))
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_net_of_ngrams_is_refused(workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, err, _ = said(capfd, "trim", str(workplace / "mlp"), *data_of(workplace), "-o", str(tmp_path / "small"))
    assert code == 2
    assert "a net of kind mlp over ngrams has no vocabulary of pieces to trim; allowed: transformer, lstm" in err
    assert list(tmp_path.iterdir()) == []


def test_a_temperature_is_fitted_once_and_then_stays(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    code, err, document = said(capfd, "temperature", str(workplace / "mlp"), *data_of(workplace), "-o", first)
    assert code == 0, err
    made = load_artifact(first)
    settings = made.core.steps[-1].settings
    assert settings["changed"] is True
    assert settings["loss"] < settings["loss_before"]
    assert f"temperature 1 to {made.core.temperature:.3g}" in err
    assert f"calibration error {settings['calibration_error_before']:.4f} before" in err
    assert document["after"]["digest"] == made.digest
    assert made.files == load_artifact(workplace / "mlp").files
    code, err, _ = said(capfd, "temperature", first, *data_of(workplace), "-o", second)
    assert code == 0, err
    assert "as before: no other suits the validation rows better" in err
    assert load_artifact(second).core.temperature == made.core.temperature


def test_a_temperature_is_not_fitted_on_foreign_rows(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "sms-spam"]
    code, err, _ = said(capfd, "temperature", str(workplace / "mlp"), *data, "-o", str(tmp_path / "made"))
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    (tmp_path / "other.csv").write_text("question,kind\n" + "".join(f"Who is {n} ?,kind {n % 6}\n" for n in range(90)))
    other = ["--data", str(tmp_path / "other.csv")]
    code, err, _ = said(capfd, "temperature", str(workplace / "mlp"), *other, "-o", str(tmp_path / "made"))
    assert code == 2
    assert "has no validation split" in err
    assert not (tmp_path / "made").exists()
