"""The whole line through the command line, on a small csv of real questions, as a user would type it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toolkit.artifact import load_artifact
from toolkit.cli import run
from toolkit.data.loading import load_data
from toolkit.serving.serve import free_port

ROWS = 1200


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON document, and what was said to the user."""
    capfd.readouterr()
    code = run([*arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, json.loads(out) if out.strip() else {}, err


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with questions.csv, a classifier trained on it, exported and quantized."""
    folder = tmp_path_factory.mktemp("line")
    train = load_data("trec").split("train")
    labels = load_data("trec").labels
    with (folder / "questions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "kind"])
        for row in range(ROWS):
            writer.writerow([train.examples[row], labels[train.labels[row]]])
    data = ["--data", str(folder / "questions.csv"), "--text", "question", "--label", "kind"]
    (folder / "recipe.toml").write_text("epochs = 10\nthreads = 1\n")
    model, recipe = str(folder / "model"), str(folder / "recipe.toml")
    assert run(["train", "text", *data, "--net", "mlp", "--recipe", recipe, "-o", model]) == 0
    assert run(["export", model, "-o", f"{model}-onnx"]) == 0
    quantize = ["quantize", f"{model}-onnx", *data, "--mode", "static", "--rows", "64", "-o", f"{model}-int8"]
    assert run(quantize) == 0
    return folder


def data_of(workplace: Path) -> list[str]:
    return ["--data", str(workplace / "questions.csv"), "--text", "question", "--label", "kind"]


def test_verify_compares_on_the_test_rows_of_training(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = workplace / "model"
    code, report, words = say(
        capfd, "verify", f"{model}-onnx", f"{model}-int8", *data_of(workplace), "--max-drop", "0.05"
    )
    assert code == 0, words
    assert report["split"] == "test"
    assert 0.15 * ROWS < report["test"]["rows"] < 0.25 * ROWS
    assert report["verdict"]["answer"] in ("pass", "cannot tell")
    assert json.loads((workplace / "model-int8/evidence/report.json").read_text())["digest"] == report["digest"]


def test_verify_leaves_with_1_when_too_much_is_lost(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A candidate trained on other labels: every row's kind is that of the row before."""
    rows = list(csv.reader((workplace / "questions.csv").open(newline="")))
    kinds = [row[1] for row in rows[1:]]
    shifted = [rows[0], *([text, kind] for (text, _), kind in zip(rows[1:], kinds[-1:] + kinds[:-1], strict=True))]
    with (tmp_path / "shifted.csv").open("w", newline="") as file:
        csv.writer(file).writerows(shifted)
    bad = str(tmp_path / "bad")
    data = ["--data", str(tmp_path / "shifted.csv"), "--text", "question", "--label", "kind"]
    assert run(["train", "text", *data, "--net", "mlp", "--epochs", "1", "-o", bad]) == 0
    code, report, words = say(capfd, "verify", str(workplace / "model-onnx"), bad, *data_of(workplace))
    assert code == 1, words
    assert report["verdict"]["failed"]
    assert "failed" in words or "worse" in words


def test_bench_measures_and_keeps_the_verdict(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [str(workplace / "model-onnx"), str(workplace / "model-int8")]
    code, document, words = say(capfd, "bench", *folders, *data_of(workplace), "--seconds", "0.5", "--rounds", "2")
    assert code == 0, words
    assert len(document["reports"]) == 2
    for report in document["reports"]:
        assert report["latency"]["p50_ms"] > 0
        assert report["latency"]["runtime"]["provider"] == "CPUExecutionProvider"
        assert report["footprint"]["load_ms"] > 0
    for folder in folders:
        curve = json.loads((Path(folder) / "evidence/cost.json").read_bytes())
        assert curve["digest"] == load_artifact(folder).digest
        assert curve["neighbours"]["rows"] > 0


def test_check_finds_a_flipped_bit(workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(workplace / "model-int8", folder)
    code, document, _ = say(capfd, "check", str(folder))
    assert code == 0
    assert document["whole"] is True
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    code, document, words = say(capfd, "check", str(folder))
    assert code == 1
    assert document["whole"] is False
    assert "sha256" in words


def test_a_corrupt_artifact_is_refused_everywhere(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(workplace / "model-onnx", folder)
    (folder / "model.onnx").write_bytes(b"not a model")
    for arguments in (["quantize", str(folder), "--mode", "dynamic", "-o", str(tmp_path / "x")],
                      ["package", str(folder)], ["bench", str(folder), *data_of(workplace)]):  # fmt: skip
        code, _, words = say(capfd, *arguments)
        assert code == 2, words
        assert len(words.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_nothing_is_overwritten_without_force(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (workplace / "model-onnx/artifact.json").read_bytes()
    arguments = ["export", str(workplace / "model"), "-o", str(workplace / "model-onnx")]
    code, _, words = say(capfd, *arguments)
    assert code == 2
    assert "--force" in words
    code, _, words = say(capfd, *arguments, "--force")
    assert code == 0, words
    assert (workplace / "model-onnx/artifact.json").read_bytes() == before, "the same work gives the same bytes"


def test_another_seed_does_not_move_rows_from_training_to_test(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The split is the model's; a copy of its training rows under another name has nothing to judge it by."""
    artifact = json.loads((workplace / "model/artifact.json").read_text())
    copy = workplace / "copy.csv"
    rows = (workplace / "questions.csv").read_text()
    copy.write_text(
        rows.replace("question,kind", "question,kind,note", 1).replace("\n", ",\n").replace(",note,", ",note")
    )
    code, report, words = say(
        capfd, "verify", str(workplace / "model-onnx"), str(workplace / "model-int8"), "--data", str(copy), "--text",
        "question", "--label", "kind", "--max-drop", "0.5",
    )  # fmt: skip
    assert code == 0, words
    own = say(capfd, "verify", str(workplace / "model-onnx"), str(workplace / "model-int8"), *data_of(workplace),
              "--max-drop", "0.5")[1]  # fmt: skip
    assert artifact["split"]["seed"] == 0
    assert report["test"]["rows"] == own["test"]["rows"], "only rows that it never saw are left of the copy"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--text", "nope"], ["nope", "question", "kind"]),
        (["--label", "nope"], ["nope", "question", "kind"]),
    ],
)
def test_a_wrong_column_names_the_columns(
    workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], change: list[str], words: list[str]
) -> None:
    arguments = ["train", "text", *data_of(workplace), *change, "--net", "mlp", "-o", str(tmp_path / "x")]
    code, _, said = say(capfd, *arguments)
    assert code == 2
    assert len(said.strip().splitlines()) == 1
    assert all(word in said for word in words)
    assert not list(tmp_path.iterdir())


def test_one_class_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"text {i},same\n" for i in range(50)))
    code, _, said = say(
        capfd, "train", "text", "--data", str(tmp_path / "one.csv"), "--net", "mlp", "-o", str(tmp_path / "x")
    )
    assert code == 2
    assert "class" in said or "label" in said
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.partial").exists()


def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = "".join(f"text number {i},{'even' if i % 2 == 0 else 'odd'}\n" for i in range(40))
    (tmp_path / "rows.csv").write_text("text,label\n" + good + ",even\nlast text,\n")
    code, document, said = say(capfd, "data", str(tmp_path / "rows.csv"))
    assert code == 0
    assert [row["line"] for row in document["bad_rows"]] == [42, 43]
    assert "rows.csv:42" in said


def test_a_dry_run_writes_nothing(workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, document, said = say(
        capfd, "train", "text", *data_of(workplace), "--net", "mlp", "--dry-run", "-o", str(tmp_path / "x")
    )
    assert code == 0
    assert document["recipe"]["epochs"] >= 1
    assert "would train" in said
    assert not list(tmp_path.iterdir())


def test_the_lineage_travels(workplace: Path) -> None:
    steps = json.loads((workplace / "model-int8/artifact.json").read_text())["steps"]
    assert [step["name"] for step in steps] == ["train", "export", "quantize"]
    assert steps[0]["settings"]["recipe"]["epochs"] == 10
    assert steps[2]["settings"]["rows"] == 64


def test_torchrun_trains_one_model_in_two_processes(workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "together"
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    train = ["-m", "toolkit", "train", "text", *data_of(workplace), "--net", "mlp", "--epochs", "1", "-o", str(out)]
    done = subprocess.run([sys.executable, *launch, *train], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("next: toolkit export") == 1, "one process speaks"
    assert run(["check", str(out)]) == 0
    assert not out.with_name("together.partial").exists()
